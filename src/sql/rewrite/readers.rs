//! `FROM read_csv('a.csv', delim = ';')`: calls of functions that read files become tables, by
//! names that tell the call.

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, TableAlias, TableFactor, VisitorMut,
};

use crate::plan::files;

/// Visits tables. Breaks with an error of a call.
#[derive(Debug)]
pub struct Readers;

impl VisitorMut for Readers {
    type Break = DataFusionError;

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<DataFusionError> {
        let TableFactor::Table { name, alias, args, .. } = table else {
            return ControlFlow::Continue(());
        };
        let ([ObjectNamePart::Identifier(function)], Some(call)) = (name.0.as_slice(), &args)
        else {
            return ControlFlow::Continue(());
        };
        let called = match files::reader_name(&function.value, &call.args) {
            Ok(Some(called)) => called,
            Ok(None) => return ControlFlow::Continue(()),
            Err(error) => return ControlFlow::Break(error),
        };
        let shown = Ident::with_quote('"', function.value.to_ascii_lowercase());
        let columns = Vec::new();
        alias.get_or_insert(TableAlias { explicit: true, name: shown, columns, at: None });
        *name = ObjectName::from(vec![Ident::with_quote('"', called)]);
        *args = None;
        ControlFlow::Continue(())
    }
}
