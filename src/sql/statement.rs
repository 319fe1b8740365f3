//! Statements as they are read: DataFusion's, and those that are ours.

use std::collections::BTreeMap;

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Location;

use super::headings::Headings;
use crate::stream::time::emit::Emit;

/// One statement of a script, with where it stands in the text.
#[derive(Debug, Clone)]
pub struct Statement {
    pub kind: Kind,
    /// When a continuous query gives out its results. A batch gives all at its end.
    pub emit: Option<Emit>,
    /// Line of its first token, from 1.
    pub line: u64,
    /// What the columns of its result are called.
    pub headings: Headings,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// Anything DataFusion plans by itself.
    Sql(Box<DfStatement>),
    CreateStream(Box<CreateStream>),
    CreateSink(CreateSink),
    Drop {
        object: Object,
        name: String,
        if_exists: bool,
    },
    Show(Object),
    /// `AUDIT` or `RECONCILE` of a result.
    Check {
        result: String,
        since: Option<String>,
        audit: bool,
    },
    /// A line of text between results, for whoever writes them: the engine does nothing.
    Print(String),
}

/// `CREATE STREAM`, as written.
#[derive(Debug, Clone)]
pub struct CreateStream {
    pub name: String,
    pub if_not_exists: bool,
    pub columns: Vec<StreamColumn>,
    pub watermark: Option<WatermarkClause>,
    pub options: BTreeMap<String, String>,
}

/// `name type`, `name type AS (expression)` or `name AS expression`.
#[derive(Debug, Clone)]
pub struct StreamColumn {
    pub name: String,
    /// As a table's column, where it has a type.
    pub definition: Option<ast::ColumnDef>,
    pub computed: Option<ComputedClause>,
}

/// What a column is computed from.
#[derive(Debug, Clone)]
pub struct ComputedClause {
    pub expression: ast::Expr,
    /// Where the column starts, for errors.
    pub at: Location,
}

/// `WATERMARK FOR column AS expression`.
#[derive(Debug, Clone)]
pub struct WatermarkClause {
    pub column: String,
    pub expression: ast::Expr,
    /// Where the expression starts, for errors.
    pub at: Location,
}

/// `CREATE SINK`, as written.
#[derive(Debug, Clone)]
pub struct CreateSink {
    pub name: String,
    pub if_not_exists: bool,
    pub options: BTreeMap<String, String>,
}

/// What `DROP` and `SHOW` speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    Stream,
    Sink,
}

/// Whether a statement only sets options.
pub fn is_setting(statement: &DfStatement) -> bool {
    let DfStatement::Statement(statement) = statement else { return false };
    matches!(statement.as_ref(), ast::Statement::Set(_))
}

/// Whether a statement answers how many rows it has written.
pub fn is_writing(statement: &Statement) -> bool {
    match &statement.kind {
        Kind::Sql(statement) => match statement.as_ref() {
            DfStatement::CopyTo(_) => true,
            DfStatement::Statement(inner) => matches!(**inner, ast::Statement::Insert(_)),
            _ => false,
        },
        _ => false,
    }
}
