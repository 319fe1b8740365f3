//! The session every query runs in.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result as DfResult;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::memory::Pool;
use super::offload::dictionaries::Dictionaries;
use super::offload::rule::Offload;
use super::options::SqlOptions;
use super::rules::by_name::ByName;
use super::rules::in_order::FirstRows;
use super::rules::large_limits::LargeLimits;
use super::zoned_types::ZonedTypes;
use super::{analyze, functions, guard};
use crate::config::{DeviceChoice, Options};
use crate::device::AdapterKind;
use crate::error::{Error, Result};
use crate::plan::files;

/// A DataFusion session with our functions, options and rule.
///
/// Errors: no adapter where `device = gpu` asks for one.
pub fn session(options: &Options) -> Result<SessionContext> {
    session_with(options, Vec::new())
}

/// A session that plans nodes of the modules above as well.
pub fn session_with(
    options: &Options,
    planners: Vec<Arc<dyn ExtensionPlanner + Send + Sync>>,
) -> Result<SessionContext> {
    if options.device == DeviceChoice::Gpu {
        let player = crate::device::open(options)?;
        let adapter = player.capabilities();
        if adapter.kind == AdapterKind::Software {
            tracing::warn!("no GPU: the device is {}, a software adapter", adapter.name);
        }
    }
    let own = SqlOptions::new(options);
    let memory = Pool::new(own.memory().map_err(Error::user)?);
    let mut config = SessionConfig::new().with_information_schema(true).with_option_extension(own);
    // Errors tell line and column.
    config.options_mut().sql_parser.collect_spans = true;
    config.options_mut().execution.parquet.coerce_int96 = Some(files::INT96_UNIT.to_string());
    let types = Arc::new(ZonedTypes::default());
    let runtime = files::runtime(memory)?;
    let metadata = runtime.cache_manager.get_file_metadata_cache();
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_file_formats(files::formats())
        // Before DataFusion's own, which are asked where ours have no answer.
        .with_expr_planners(vec![Arc::new(analyze::OperandPlanner)])
        .with_type_planner(Arc::clone(&types) as Arc<dyn TypePlanner>)
        .with_default_features()
        .with_table_factories(files::external_tables())
        .with_analyzer_rules(analyzers())
        .with_physical_optimizer_rules(rules(metadata)?)
        .with_query_planner(Arc::new(Planner(planners)))
        .build();
    let context = SessionContext::new_with_state(state);
    for function in crate::agg::udaf::udafs() {
        context.register_udaf(function.as_ref().clone());
    }
    let lacking = functions::dates::dates().into_iter().chain(functions::numbers::numbers());
    for function in functions::choices::choices().into_iter().chain(lacking) {
        context.register_udf(function);
    }
    context.register_udf(super::date_bin().as_ref().clone());
    let context = files::with_files(context);
    types.attach(&context);
    Ok(context)
}

/// DataFusion's planner with planners of nodes that it does not know.
struct Planner(Vec<Arc<dyn ExtensionPlanner + Send + Sync>>);

impl fmt::Debug for Planner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Planner").field(&self.0.len()).finish()
    }
}

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(self.0.clone());
        let plan = guard::in_force(plan.clone())?;
        planner.create_physical_plan(&plan, session).await
    }
}

/// DataFusion's analyzer rules with ours before and behind them.
fn analyzers() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = analyze::before_coercion();
    rules.extend(Analyzer::new().rules);
    rules.extend(analyze::after_coercion());
    rules
}

/// DataFusion's rules with ours before the last filter pushdown: see `rule`. `metadata` is where
/// planning keeps what files tell of themselves.
///
/// Errors: DataFusion has no such rule any more; anywhere else ours would give wrong plans.
fn rules(
    metadata: Arc<FileMetadataCache>,
) -> Result<Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.insert(0, Arc::new(files::TrustedStatistics));
    let last = rules.iter().rposition(|rule| rule.name().starts_with("FilterPushdown"));
    let last = last.ok_or_else(|| {
        Error::Bug("DataFusion has no rule FilterPushdown, before which ours stands".to_string())
    })?;
    for rule in rules.iter_mut().filter(|rule| rule.name().starts_with("FilterPushdown")) {
        *rule = Arc::new(ByName(rule.clone()));
    }
    rules.insert(last, Arc::new(Dictionaries::new(metadata)));
    rules.insert(last, Arc::new(Offload));
    rules.insert(last, Arc::new(files::NamedFiles));
    // Behind the rules that push limits down, before dynamic filters hang in the plan.
    rules.insert(last, Arc::new(LargeLimits));
    rules.insert(last, Arc::new(FirstRows));
    Ok(rules)
}
