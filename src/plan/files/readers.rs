//! Files as tables by a function, as DuckDB writes it: `read_csv('a.csv', delim = ';')`,
//! `read_parquet(['a.parquet', 'b.parquet'])`.
//!
//! A call becomes the name of a table, which is looked up as those of files are (`catalog`), and
//! read again there.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::DFParserBuilder;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, SetExpr, TableFactor, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::error::user;
use super::external::not_in_header;
use super::format::csv;
use super::format::csv_columns;
use super::format::infer::infer;
use super::format::schema::Columns;
use super::found::{Files, Form};
use super::several::find_all;
use super::table::table_of;
use super::text::csv_rows;
use super::text::utf8::{ENCODING, encoding};

/// The functions, with the form of their files.
const READERS: [(&str, Form); 8] = [
    ("read_csv", Form::Csv),
    ("read_csv_auto", Form::Csv),
    ("read_json", Form::Json),
    ("read_json_auto", Form::Json),
    ("read_ndjson", Form::Json),
    ("read_ndjson_auto", Form::Json),
    ("read_parquet", Form::Parquet),
    ("parquet_scan", Form::Parquet),
];

/// Options of every form. Files of one table go by the names of their columns, and columns in the
/// names of folders are read: both say no more than that.
const COMMON: [&str; 2] = ["hive_partitioning", "union_by_name"];

/// Options of all text.
const TEXT: [&str; 3] = ["columns", "compression", "encoding"];

/// Options of CSV.
const CSV: [&str; 8] =
    ["all_varchar", "comment", "delim", "escape", "header", "nullstr", "quote", "types"];

/// Other names of options.
const ALIASES: [(&str, &str); 5] = [
    ("sep", "delim"),
    ("delimiter", "delim"),
    ("dtypes", "types"),
    ("column_types", "types"),
    ("null", "nullstr"),
];

/// Names and types of columns, as SQL has them.
type Typed = Vec<(String, String)>;

/// A call of a reader.
#[derive(Debug)]
pub struct Reader {
    form: Form,
    paths: Vec<String>,
    /// As in `OPTIONS (..)`.
    options: HashMap<String, String>,
    /// All columns, as declared.
    columns: Option<Typed>,
    /// Those whose types are not found out.
    types: Typed,
    all_text: bool,
}

/// The name of the table that a call of a function stands for; `None` for other functions.
///
/// Errors: arguments that it does not take.
pub fn reader_name(function: &str, args: &[FunctionArg]) -> Result<Option<String>> {
    let Some(reader) = known(function) else { return Ok(None) };
    Reader::new(reader, args)?;
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    Ok(Some(format!("{}({})", reader.0, args.join(", "))))
}

fn known(function: &str) -> Option<(&'static str, Form)> {
    READERS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(function))
}

/// The call that a table's name is; `None` for other names.
pub fn asked(name: &str) -> Result<Option<Reader>> {
    let Some(reader) = name.split_once('(').and_then(|(function, _)| known(function)) else {
        return Ok(None);
    };
    let text = format!("SELECT * FROM {name}");
    let Ok(query) = DFParserBuilder::new(text.as_str()).build()?.parser.parse_query() else {
        return Ok(None);
    };
    let SetExpr::Select(select) = query.body.as_ref() else { return Ok(None) };
    match select.from.first().map(|from| &from.relation) {
        Some(TableFactor::Table { args: Some(args), .. }) => {
            Reader::new(reader, &args.args).map(Some)
        }
        _ => Ok(None),
    }
}

impl Reader {
    fn new((function, form): (&str, Form), args: &[FunctionArg]) -> Result<Self> {
        let usage = || user(format!("{function} takes a path or a list of paths, then options"));
        let Some((first, options)) = args.split_first() else { return Err(usage()) };
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(first)) = first else {
            return Err(usage());
        };
        let paths = texts(first).filter(|paths| !paths.is_empty()).ok_or_else(usage)?;
        let mut reader = Self {
            form,
            paths,
            options: HashMap::new(),
            columns: None,
            types: Vec::new(),
            all_text: false,
        };
        for option in options {
            let (name, value) = named(option).ok_or_else(|| {
                user(format!(
                    "{function}: expected an option, such as name = value, found {option}"
                ))
            })?;
            reader.set(function, &name, &value)?;
        }
        Ok(reader)
    }

    /// The options that the form has, without other names of theirs.
    fn available(&self) -> Vec<&'static str> {
        let text: &[&str] = if self.form == Form::Parquet { &[] } else { &TEXT };
        let csv: &[&str] = if self.form == Form::Csv { &CSV } else { &[] };
        let mut all: Vec<&str> = COMMON.iter().chain(text).chain(csv).copied().collect();
        all.sort_unstable();
        all
    }

    fn set(&mut self, function: &str, name: &str, value: &Expr) -> Result<()> {
        let plain = name.to_ascii_lowercase();
        let alias = ALIASES.iter().find(|(other, _)| *other == plain);
        let plain = alias.map_or(plain.as_str(), |(_, plain)| *plain);
        let available = self.available();
        if !available.contains(&plain) {
            let available = available.join(", ");
            return Err(user(format!(
                "unknown option '{name}' of {function}; available: {available}"
            )));
        }
        let wrong = |expected: &str| {
            user(format!("{function}: {name}: expected {expected}, found {value}"))
        };
        let given = text(value);
        let word = || given.clone().ok_or_else(|| wrong("text"));
        let option = |key: &str| format!("format.{key}");
        match plain {
            "hive_partitioning" | "union_by_name" => match truth(value) {
                Some(true) => {}
                _ => return Err(wrong("true, which is how files are read")),
            },
            "all_varchar" => {
                self.all_text = truth(value).ok_or_else(|| wrong("true or false"))?;
            }
            "columns" => {
                let columns = types(value).ok_or_else(|| wrong("such as {'a': 'BIGINT'}"))?;
                self.columns = Some(columns);
            }
            "types" => self.types = types(value).ok_or_else(|| wrong("such as {'a': 'BIGINT'}"))?,
            "header" => {
                let header = truth(value).ok_or_else(|| wrong("true or false"))?;
                self.options.insert(option("has_header"), header.to_string());
            }
            "delim" | "quote" | "escape" | "comment" => {
                let sign = given.as_deref().and_then(|given| sign(plain, given));
                let sign = sign.ok_or_else(|| wrong("one sign, such as '|'"))?;
                let key = if plain == "delim" { "delimiter" } else { plain };
                self.options.insert(option(key), char::from(sign).to_string());
            }
            "nullstr" => {
                let spellings = texts(value).ok_or_else(|| wrong("text or a list of texts"))?;
                let spellings: Vec<String> =
                    spellings.iter().map(|spelling| regex::escape(spelling)).collect();
                let pattern = format!("^({})$", spellings.join("|"));
                self.options.insert(option("null_regex"), pattern);
            }
            "compression" => match word()?.to_ascii_lowercase().as_str() {
                "auto" | "auto_detect" => {}
                "none" => drop(self.options.insert(option(plain), "uncompressed".to_string())),
                packed => drop(self.options.insert(option(plain), packed.to_string())),
            },
            "encoding" => {
                encoding(&word()?)?;
                self.options.insert(ENCODING.to_string(), word()?);
            }
            other => return Err(user(format!("{function}: {other} has no meaning"))),
        }
        Ok(())
    }

    /// The table.
    pub async fn table(self, state: &SessionState) -> Result<Arc<dyn TableProvider>> {
        let files = find_all(state, &self.paths, self.form).await?.with_options(&self.options)?;
        let format = files.format(state).await?;
        let columns = match &self.columns {
            Some(columns) => {
                let stored = declared(state, columns).await?;
                if files.form != Form::Json {
                    let header = csv_columns::header(&files, &format).await?;
                    let header = header.unwrap_or_default();
                    if let Some(name) = csv_rows::lacking(&stored, &header) {
                        return Err(not_in_header(name, &self.paths.join("', '"), &header));
                    }
                }
                Columns { stored, meant: None }
            }
            None => infer(state, &files, &format).await?,
        };
        let columns = self.with_types(state, &files, columns).await?;
        table_of(state, files, format, columns).await
    }

    /// The columns with the types that were asked for.
    async fn with_types(
        &self,
        state: &SessionState,
        files: &Files,
        columns: Columns,
    ) -> Result<Columns> {
        if self.types.is_empty() && !self.all_text {
            return Ok(columns);
        }
        let types = declared(state, &self.types).await?;
        let known = |name: &String| columns.stored.field_with_name(name).is_ok();
        if let Some(unknown) = types.fields().iter().find(|field| !known(field.name())) {
            let names: Vec<&str> =
                columns.stored.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(user(format!(
                "there is no column '{}' in '{}', which has {}",
                unknown.name(),
                files.shown(&files.objects[0]),
                names.join(", ")
            )));
        }
        let typed = |schema: &Schema| -> SchemaRef {
            let field = |field: &Arc<Field>| match types.field_with_name(field.name()) {
                Ok(asked) => asked.clone(),
                Err(_) if self.all_text => Field::new(field.name(), DataType::Utf8, true),
                Err(_) => field.as_ref().clone(),
            };
            Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
        };
        let meant = columns.meant.as_deref().filter(|_| !self.all_text).map(typed);
        Ok(Columns { stored: typed(&columns.stored), meant })
    }
}

/// Columns by their types in SQL.
async fn declared(state: &SessionState, columns: &[(String, String)]) -> Result<SchemaRef> {
    if columns.is_empty() {
        return Ok(Arc::new(Schema::empty()));
    }
    let cast =
        |(at, (_, kind)): (usize, &(String, String))| format!("CAST(NULL AS {kind}) AS c{at}");
    let casts: Vec<String> = columns.iter().enumerate().map(cast).collect();
    let plan = state.create_logical_plan(&format!("SELECT {}", casts.join(", "))).await?;
    let LogicalPlan::Projection(projection) = &plan else {
        return Err(user("the types of columns are types of SQL".to_string()));
    };
    let fields = columns.iter().zip(projection.schema.fields());
    let fields = fields.map(|((name, _), field)| Field::new(name, field.data_type().clone(), true));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// A named argument: `name = value`, `name => value` or `name := value`.
fn named(arg: &FunctionArg) -> Option<(String, Expr)> {
    match arg {
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
            Some((name.value.clone(), value.clone()))
        }
        FunctionArg::ExprNamed {
            name: Expr::Identifier(name),
            arg: FunctionArgExpr::Expr(value),
            ..
        } => Some((name.value.clone(), value.clone())),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp { left, op, right })) => {
            match (left.as_ref(), op) {
                (Expr::Identifier(name), BinaryOperator::Eq) => {
                    Some((name.value.clone(), right.as_ref().clone()))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// A constant as text.
fn text(value: &Expr) -> Option<String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => Some(text.clone()),
            Value::Boolean(truth) => Some(truth.to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// A text or a list of texts.
fn texts(value: &Expr) -> Option<Vec<String>> {
    match value {
        Expr::Array(list) => list.elem.iter().map(text).collect(),
        one => Some(vec![text(one)?]),
    }
}

fn truth(value: &Expr) -> Option<bool> {
    match text(value)?.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// The sign that an option of CSV names.
fn sign(option: &str, text: &str) -> Option<u8> {
    match (option, text) {
        ("quote" | "escape", "\"") => Some(b'"'),
        _ => csv::sign(text),
    }
}

/// `{'name': 'TYPE', ..}`, each type checked to be one.
fn types(value: &Expr) -> Option<Typed> {
    let Expr::Dictionary(fields) = value else { return None };
    let typed = |kind: String| {
        let mut parser = Parser::new(&GenericDialect {}).try_with_sql(&kind).ok()?;
        let kind = parser.parse_data_type().ok()?;
        (parser.peek_token().token == Token::EOF).then(|| kind.to_string())
    };
    let fields = fields.iter();
    fields.map(|field| Some((field.key.value.clone(), typed(text(&field.value)?)?))).collect()
}
