//! `CREATE EXTERNAL TABLE .. STORED AS .. LOCATION ..`: the checks of this module, then
//! DataFusion's table over files.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::ToDFSchema;
use datafusion::datasource::provider::DefaultTableFactory;
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateExternalTable, LogicalPlanBuilder, ident};

use super::find::{Form, Found, find};
use super::shaped::Shaped;
use super::{csv, data, table, user};

/// What `STORED AS` may name here; Delta tables are made elsewhere.
pub const STORED_AS: [&str; 7] = ["PARQUET", "CSV", "TSV", "JSON", "NDJSON", "ARROW", "AVRO"];

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
        if command.options.keys().any(|key| key.ends_with("null_regex")) {
            let message = "format.null_regex has no effect when files are read: select \
                           nullif(column, 'spelling') instead";
            return Err(user(message));
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
        if declared && !missing && form == Form::Csv && plain {
            return self.declared_csv(state, command, location).await;
        }
        if declared || !plain {
            return self.declared.create(session, command).await;
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

    /// Declared columns of CSV files go by the names of the header where it has them; the reader
    /// itself goes by position. A header that has none of the names is another naming, by position.
    async fn declared_csv(
        &self,
        state: &SessionState,
        command: &CreateExternalTable,
        location: &str,
    ) -> Result<Arc<dyn TableProvider>> {
        let files = match find(state, location, Some(Form::Csv)).await {
            Ok(Found::Files(files)) => files.with_options(&command.options)?,
            // An empty directory: INSERT will fill it.
            _ => return self.declared.create(state, command).await,
        };
        let format = files.format(state).await?;
        let Some(header) = csv::header(&files, &format).await? else {
            return self.declared.create(state, command).await;
        };
        let declared = command.schema.as_arrow();
        let names: Vec<&str> = declared.fields().iter().map(|f| f.name().as_str()).collect();
        let known = |name: &&&str| header.iter().any(|column| column == **name);
        let count = names.iter().filter(known).count();
        if count == 0 || header.iter().map(String::as_str).eq(names.iter().copied()) {
            return self.declared.create(state, command).await;
        }
        if let Some(lacking) = names.iter().find(|name| !known(name)) {
            return Err(data(format!(
                "column '{lacking}' is not in the header of '{location}', which has {}",
                header.join(", ")
            )));
        }
        let stored = header.iter().map(|column| match declared.field_with_name(column) {
            Ok(field) => field.clone(),
            Err(_) => Field::new(column, DataType::Utf8, true),
        });
        let mut by_position = command.clone();
        by_position.schema = Arc::new(Schema::new(stored.collect::<Vec<_>>()).to_dfschema()?);
        let table = self.declared.create(state, &by_position).await?;
        let source = provider_as_source(table);
        let columns: Vec<_> = names.iter().map(|name| ident(*name)).collect();
        let plan = LogicalPlanBuilder::scan("files", source, None)?.project(columns)?.build()?;
        Ok(Arc::new(Shaped::new(plan, command.definition.clone())))
    }
}

impl super::Files {
    /// The files as `OPTIONS (..)` says they are to be read.
    pub fn with_options(
        mut self,
        options: &std::collections::HashMap<String, String>,
    ) -> Result<Self> {
        self.options.clone_from(options);
        if let Some(named) = options.get("format.compression") {
            let wrong = |_: DataFusionError| user(format!("there is no compression '{named}'"));
            self.compression = named.parse().map_err(wrong)?;
        }
        Ok(self)
    }
}
