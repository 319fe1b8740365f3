//! `CREATE EXTERNAL TABLE .. STORED AS .. LOCATION ..`: the checks of this module, then
//! DataFusion's table over files.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::ToDFSchema;
use datafusion::datasource::provider::DefaultTableFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateExternalTable, DdlStatement, LogicalPlan};

use super::error::{data, user};
use super::find::find;
use super::format::csv_columns;
use super::found::{Files, Form, Found};
use super::table::partitions::Partitioned;
use super::table::table;
use super::text::csv_rows;
use super::text::utf8::{ENCODING, encoding};

/// What `STORED AS` may name here; Delta tables are made elsewhere.
pub(super) const STORED_AS: [&str; 7] =
    ["PARQUET", "CSV", "TSV", "JSON", "NDJSON", "ARROW", "AVRO"];

/// Makes external tables of all forms.
#[derive(Debug, Default)]
pub struct ExternalTables {
    declared: DefaultTableFactory,
}

#[async_trait]
impl TableProviderFactory for ExternalTables {
    async fn create(
        &self,
        session: &dyn Session,
        command: &CreateExternalTable,
    ) -> Result<Arc<dyn TableProvider>> {
        let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
            return self.declared.create(session, command).await;
        };
        let form = form(&command.file_type)?;
        if is_unbounded(command) {
            return self.unbounded(state, command, form).await;
        }
        let declared = !command.schema.fields().is_empty();
        let [location] = command.locations.as_slice() else {
            return self.declared.create(session, command).await;
        };
        let missing = !location.contains(['*', '?', '[', ':']) && !Path::new(location).exists();
        if missing && !declared {
            let message = format!(
                "location '{location}' does not exist; where INSERT is to make it, declare the \
                 columns: CREATE EXTERNAL TABLE {} (column TYPE, ..) ..",
                command.name
            );
            return Err(user(message));
        }
        let plain = command.table_partition_cols.is_empty() && command.order_exprs.is_empty();
        let text = matches!(form, Form::Csv | Form::Tsv | Form::Json);
        if declared && !missing && text {
            return self.declared_text(state, command, location, form).await;
        }
        if declared || !plain {
            return self.partitioned(state, command).await;
        }
        match find(state, location, Some(form)).await? {
            Found::Files(files) => table(state, files.with_options(&command.options)?).await,
            _ => Err(user(format!("location '{location}' holds no {} files", command.file_type))),
        }
    }
}

fn form(stored_as: &str) -> Result<Form> {
    Ok(match stored_as.to_ascii_uppercase().as_str() {
        "PARQUET" => Form::Parquet,
        "CSV" => Form::Csv,
        "TSV" => Form::Tsv,
        "JSON" | "NDJSON" => Form::Json,
        "ARROW" => Form::Arrow,
        "AVRO" => Form::Avro,
        other => {
            return Err(user(format!("STORED AS {other}: there are {}", STORED_AS.join(", "))));
        }
    })
}

/// Errors: an external table of a form that the session has no tables of.
pub fn check_form(plan: &LogicalPlan, state: &SessionState) -> Result<()> {
    let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(command)) = plan else { return Ok(()) };
    let known = state.table_factories();
    let form = &command.file_type;
    match known.contains_key(&form.to_uppercase()) {
        true => Ok(()),
        false => {
            let others = known.keys().map(String::as_str).filter(|name| !STORED_AS.contains(name));
            let mut others: Vec<&str> = others.collect();
            others.sort_unstable();
            let all = [&STORED_AS[..], &others].concat().join(", ");
            Err(user(format!("STORED AS {form}: there are {all}")))
        }
    }
}

/// As DataFusion's own factory looks at it.
fn is_unbounded(command: &CreateExternalTable) -> bool {
    let mut options = command.options.iter();
    let said = |(key, value): (&String, &String)| {
        key.to_ascii_lowercase().ends_with("unbounded") && value.eq_ignore_ascii_case("true")
    };
    command.unbounded || options.any(said)
}

impl ExternalTables {
    /// A file that is read as it grows, such as a named pipe, and appended to.
    async fn unbounded(
        &self,
        state: &SessionState,
        command: &CreateExternalTable,
        form: Form,
    ) -> Result<Arc<dyn TableProvider>> {
        if !matches!(form, Form::Csv | Form::Json) {
            let form = &command.file_type;
            return Err(user(format!("UNBOUNDED goes with STORED AS CSV or JSON, found {form}")));
        }
        if command.schema.fields().is_empty() {
            return Err(user(format!(
                "an UNBOUNDED table declares its columns: CREATE UNBOUNDED EXTERNAL TABLE {} \
                 (column TYPE, ..) ..",
                command.name
            )));
        }
        let mut command = command.clone();
        command.unbounded = true;
        self.declared.create(state, &command).await
    }

    /// Files of text are packed as their names say. The header of CSV files has the declared
    /// columns, or none of them: then they go by their places.
    async fn declared_text(
        &self,
        state: &SessionState,
        command: &CreateExternalTable,
        location: &str,
        form: Form,
    ) -> Result<Arc<dyn TableProvider>> {
        let files = match find(state, location, Some(form)).await {
            Ok(Found::Files(files)) => files.with_options(&command.options)?,
            // An empty directory: INSERT will fill it.
            _ => return self.partitioned(state, command).await,
        };
        let mut command = command.clone();
        if files.compression.is_compressed() {
            let packed = files.compression.get_variant().to_string();
            command.options.entry("format.compression".to_string()).or_insert(packed);
        }
        if form != Form::Json {
            let format = files.format(state).await?;
            let header = csv_columns::header(&files, &format).await?;
            check_declared(&command, location, &header.unwrap_or_default())?;
        }
        self.partitioned(state, &command).await
    }

    /// DataFusion's table, with what directories' names hold read as text and converted.
    async fn partitioned(
        &self,
        state: &SessionState,
        command: &CreateExternalTable,
    ) -> Result<Arc<dyn TableProvider>> {
        let partitions = &command.table_partition_cols;
        if partitions.is_empty() {
            return self.declared.create(state, command).await;
        }
        let declared = command.schema.as_arrow();
        let kind = |name: &String| match declared.field_with_name(name) {
            Ok(field) => (name.clone(), field.data_type().clone()),
            Err(_) => (name.clone(), DataType::Utf8),
        };
        let kinds: Vec<(String, DataType)> = partitions.iter().map(kind).collect();
        let mut command = command.clone();
        if !declared.fields().is_empty() {
            let text = |field: &Arc<Field>| match partitions.contains(field.name()) {
                true => Field::new(field.name(), DataType::Utf8, true),
                false => field.as_ref().clone(),
            };
            let fields: Vec<Field> = declared.fields().iter().map(text).collect();
            command.schema = Arc::new(Schema::new(fields).to_dfschema()?);
        }
        let stored = self.declared.create(state, &command).await?;
        Ok(Arc::new(Partitioned::new(stored, &kinds)?))
    }
}

/// Errors: the header of CSV files has some of the declared columns, and others not.
fn check_declared(command: &CreateExternalTable, location: &str, header: &[String]) -> Result<()> {
    let declared = command.schema.as_arrow().fields().iter();
    let declared = declared.filter(|field| !command.table_partition_cols.contains(field.name()));
    let stored = Schema::new(declared.cloned().collect::<Vec<_>>());
    match csv_rows::lacking(&stored, header) {
        None => Ok(()),
        Some(name) => Err(not_in_header(name, location, header)),
    }
}

/// The error of a declared column that files of CSV lack.
pub fn not_in_header(column: &str, location: &str, header: &[String]) -> DataFusionError {
    let header = header.join(", ");
    data(format!("column '{column}' is not in the header of '{location}', which has {header}"))
}

impl Files {
    /// The files as `OPTIONS (..)` says they are to be read.
    pub fn with_options(
        mut self,
        options: &std::collections::HashMap<String, String>,
    ) -> Result<Self> {
        self.options.clone_from(options);
        self.encoding = self.options.remove(ENCODING).map(|label| encoding(&label)).transpose()?;
        if let Some(named) = options.get("format.compression") {
            let wrong = |_: DataFusionError| user(format!("there is no compression '{named}'"));
            self.compression = named.parse().map_err(wrong)?;
        }
        Ok(self)
    }
}
