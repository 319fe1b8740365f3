//! Names that are of a table and of a file alike. A statement that makes or drops a table means
//! the table, whatever lies in the working directory; a query means the table of the session where
//! there is one, and by a name in single quotes the file.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    self, Ident, ObjectName, ObjectType, TableAlias, TableFactor, VisitorMut,
};

use super::grammar::Grammar;

/// The tables and views that a statement makes or drops.
pub fn made_or_dropped(statement: &Statement, grammar: &Grammar) -> BTreeSet<String> {
    let names: Vec<&ObjectName> = match statement {
        Statement::CreateExternalTable(create) => vec![&create.name],
        Statement::Explain(explain) => return made_or_dropped(&explain.statement, grammar),
        Statement::Statement(statement) => match statement.as_ref() {
            ast::Statement::CreateTable(create) => vec![&create.name],
            ast::Statement::CreateView(create) => vec![&create.name],
            ast::Statement::Drop {
                object_type: ObjectType::Table | ObjectType::View,
                names,
                ..
            } => names.iter().collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    let last = names.into_iter().filter_map(|name| name.0.last()?.as_ident());
    last.map(|name| grammar.name(name)).collect()
}

/// Gives files that are read the path of one, where their name alone would be a table's.
pub struct Files<'a> {
    /// What the statement makes or drops.
    pub made: &'a BTreeSet<String>,
    pub grammar: &'a Grammar,
    /// Whether the session has a table of this name.
    pub is_table: &'a dyn Fn(&str) -> bool,
}

impl VisitorMut for Files<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: None, .. } = table else {
            return ControlFlow::Continue(());
        };
        let [ast::ObjectNamePart::Identifier(word)] = name.0.as_slice() else {
            return ControlFlow::Continue(());
        };
        let plain = self.grammar.name(word);
        let is_path = plain.contains(['/', '\\', ':']);
        let is_table = (self.is_table)(&plain);
        let is_file = match word.quote_style {
            Some('\'') => is_table || self.made.contains(&plain),
            _ => !is_table && self.made.contains(&plain),
        };
        if is_file && !is_path && Path::new(&plain).exists() {
            let name_of = |text: String| Ident { value: text, quote_style: Some('"'), ..*word };
            let (path, shown) = (name_of(format!("./{plain}")), name_of(plain));
            let named = TableAlias { explicit: true, name: shown, columns: Vec::new(), at: None };
            alias.get_or_insert(named);
            *name = ObjectName::from(vec![path]);
        }
        ControlFlow::Continue(())
    }
}
