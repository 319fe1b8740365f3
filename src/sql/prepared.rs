//! `PREPARE`, `EXECUTE` and `DEALLOCATE`. Plans are kept as they were read: DataFusion's own store
//! keeps them optimized, and rules that answer for right results would see them too late.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Deallocate, Execute, Expr, LogicalPlan, Prepare};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use parking_lot::RwLock;

use crate::error::{Error, Result};

/// The prepared statements of a session, by name.
#[derive(Debug, Default)]
pub struct Prepared(RwLock<BTreeMap<String, Arc<Statement>>>);

#[derive(Debug)]
struct Statement {
    /// Types of the parameters, where PREPARE names them.
    fields: Vec<FieldRef>,
    plan: Arc<LogicalPlan>,
}

impl Prepared {
    /// Errors: another number of types than of parameters; a name that is taken.
    pub fn prepare(&self, prepare: Prepare) -> Result<()> {
        let Prepare { name, fields, input } = prepare;
        if !fields.is_empty() {
            let count = input.get_parameter_names()?.len();
            if count != fields.len() {
                return Err(Error::user(format!(
                    "PREPARE {name} names {} types, and the statement has {count} parameters",
                    fields.len()
                )));
            }
        }
        let mut all = self.0.write();
        if all.contains_key(&name) {
            return Err(Error::user(format!("prepared statement '{name}' already exists")));
        }
        all.insert(name, Arc::new(Statement { fields, plan: input }));
        Ok(())
    }

    /// The statement's plan with values in the place of its parameters.
    ///
    /// Errors: an unknown name, another number of values, a value that is no constant or not of
    /// its type.
    pub fn execute(&self, execute: Execute, state: &SessionState) -> Result<LogicalPlan> {
        let Execute { name, parameters } = execute;
        let known = self.0.read().get(&name).cloned();
        let statement = known.ok_or_else(|| unknown(&name))?;
        let context = SimplifyContext::builder()
            .with_schema(Arc::clone(statement.plan.schema()))
            .with_config_options(Arc::clone(state.config_options()))
            .with_query_execution_start_time(state.execution_props().query_execution_start_time)
            .build();
        let simplifier = ExprSimplifier::new(context);
        let value = |parameter: Expr| match simplifier.simplify(parameter)? {
            Expr::Literal(value, metadata) => Ok(ScalarAndMetadata::new(value, metadata)),
            other => Err(Error::user(format!("EXECUTE {name}: {other} is no constant"))),
        };
        let mut values = parameters.into_iter().map(value).collect::<Result<Vec<_>>>()?;
        if !statement.fields.is_empty() {
            if values.len() != statement.fields.len() {
                return Err(Error::user(format!(
                    "EXECUTE {name} takes {} values, found {}",
                    statement.fields.len(),
                    values.len()
                )));
            }
            let typed = values.into_iter().zip(&statement.fields);
            let typed = typed.map(|(value, field)| value.cast_storage_to(field.data_type()));
            values = typed.collect::<Result<_, DataFusionError>>()?;
        }
        let plan = statement.plan.as_ref().clone();
        Ok(plan.replace_params_with_values(&ParamValues::List(values))?)
    }

    /// Errors: an unknown name.
    pub fn deallocate(&self, deallocate: &Deallocate) -> Result<()> {
        let removed = self.0.write().remove(&deallocate.name);
        removed.map(|_| ()).ok_or_else(|| unknown(&deallocate.name))
    }
}

fn unknown(name: &str) -> Error {
    Error::user(format!("there is no prepared statement '{name}'"))
}
