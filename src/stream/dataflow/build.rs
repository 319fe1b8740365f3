//! Cuts a query's logical plan into a graph, and says what cannot run continuously.

use std::future::ready;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::{Column, DFSchemaRef, JoinType};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{
    Distinct, Expr, LogicalPlan, LogicalPlanBuilder, TableScan, Union, Window,
};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;

use super::physical::Planner;
use super::{Graph, IN_LOG_ORDER, Late, Node, Region, Source};
use crate::error::{Error, Result};
use crate::plan::ExtensionNode;
use crate::stream::exec::adaptive::SlotPlan;
use crate::stream::exec::input::{Slot, SlotNode};
use crate::stream::log::table::StreamTable;
use crate::stream::operator::aggregate::Aggregate;
use crate::stream::operator::buffered::{Buffered, Side};
use crate::stream::operator::lookup_table::{TableOnce, TableRows, Tables, pin};
use crate::stream::operator::session::{SessionWindows, Sessions};
use crate::stream::operator::steps::Steps;
use crate::stream::operator::updating_aggregate::UpdatingAggregate;
use crate::stream::operator::{Operator, PassThrough};
use crate::stream::plan::asof::node::AsOfNode;
use crate::stream::plan::display::shown;
use crate::stream::plan::late::{late_rows, row_by_row, without_watermark_filter};
use crate::stream::plan::lower::lowered;
use crate::stream::plan::order::in_log_order;
use crate::stream::plan::order::number::NumberNode;
use crate::stream::plan::order::sorted::SortedNode;
use crate::stream::plan::refuse::{check, final_only, missing, never_final};
use crate::stream::plan::session::node::SessionNode;
use crate::stream::plan::streams::{reads_stream, streams};
use crate::stream::plan::subquery::{self, Over};
use crate::stream::plan::upsert_keys::{changes, upsert_keys};
use crate::stream::plan::window::panes::{self, passes_windows_on};
use crate::stream::plan::{interval, watermark_bound};
use crate::stream::state::final_key::{Bound, Key};
use crate::stream::time::emit::Emit;

/// A subtree: a plan over leaves, and where the rows of the leaves come from.
pub(super) struct Piece {
    pub(super) plan: LogicalPlan,
    pub(super) inputs: Vec<(Slot, Source)>,
}

impl Graph {
    /// The graph of a query that reads streams; `None` where it reads none.
    ///
    /// Errors: what cannot run continuously, naming the node and what is missing.
    pub async fn new(
        context: &SessionContext,
        plan: &LogicalPlan,
        emit: Emit,
    ) -> Result<Option<Self>> {
        let streams = streams(plan)?;
        if streams.is_empty() {
            return Ok(None);
        }
        let asked = emit;
        let emit = match emit {
            Emit::Changes if changes(plan) => Emit::Update,
            Emit::Changes => Emit::default(),
            emit => emit,
        };
        let upsert_keys = match emit {
            Emit::Close { .. } | Emit::Changes => None,
            Emit::Update | Emit::Periodic { .. } => Some(upsert_keys(plan)?),
        };
        // The types of the rows are known only then: those of CASE are not of its first branch.
        let state = context.state();
        let written = format!("{}\n{asked:?}", lowered(plan.clone())?.display_indent());
        let plan = subquery::scalars_joined(subquery::joined(plan.clone(), Over::Tables)?)?;
        let coerced = TypeCoercion::new().analyze(plan, state.config_options())?;
        let plan = in_log_order(coerced.clone())?;
        let fingerprint = match plan == coerced {
            true => written,
            false => format!("{written}{IN_LOG_ORDER}"),
        };
        let mut tables = Tables::new();
        let plan = pin(plan, &mut tables)?;
        let planner = Planner::new(state);
        let builder = Builder { planner };
        let piece = builder.piece(&plan, Some(emit)).await?;
        let region = builder.region(piece).await?;
        let schema = region.schema.clone();
        let root = Node::new(vec![region], PassThrough);
        let task: Arc<TaskContext> = context.task_ctx();
        let context = context.clone();
        Ok(Some(Self {
            root,
            streams,
            schema,
            fingerprint,
            upsert_keys,
            late: 0,
            delay_us: emit.delay_us(),
            tables,
            context,
            task,
        }))
    }
}

pub(super) struct Builder {
    pub(super) planner: Planner,
}

impl Builder {
    /// Cuts a subtree. `emit` is the query's where no cut lies above.
    ///
    /// The future of each kind of node is boxed by itself: a plan is cut as deep as it is, and one
    /// future of all kinds would take tens of kilobytes of stack a level.
    pub(super) fn piece<'a>(
        &'a self,
        plan: &'a LogicalPlan,
        emit: Option<Emit>,
    ) -> BoxFuture<'a, Result<Piece>> {
        self.begin(plan, emit).unwrap_or_else(|error| Box::pin(ready(Err(error))))
    }

    /// What cuts a node, by its kind.
    fn begin<'a>(
        &'a self,
        plan: &'a LogicalPlan,
        emit: Option<Emit>,
    ) -> Result<BoxFuture<'a, Result<Piece>>> {
        if !reads_stream(plan)? {
            return Ok(Box::pin(ready(self.beside(plan))));
        }
        check(plan)?;
        Ok(match plan {
            LogicalPlan::TableScan(scan) => Box::pin(ready(self.scan(plan, scan))),
            LogicalPlan::Filter(node) => match node.input.as_ref() {
                LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
                    let join = interval::filtered(join, node);
                    Box::pin(async move { self.join(&join, emit).await })
                }
                _ => Box::pin(self.through(plan, emit)),
            },
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Unnest(_) => {
                Box::pin(self.through(plan, emit))
            }
            LogicalPlan::Union(node) => Box::pin(self.union(node, emit)),
            LogicalPlan::Aggregate(node) => {
                Box::pin(self.aggregate(plan, &node.input, &node.group_expr, emit))
            }
            LogicalPlan::Distinct(Distinct::All(input)) => Box::pin(self.distinct(input, emit)),
            LogicalPlan::Window(node) => Box::pin(self.window(node, emit)),
            LogicalPlan::Join(join) => Box::pin(self.join(join, emit)),
            LogicalPlan::Extension(_) if SessionNode::of(plan).is_some() => {
                Box::pin(self.sessions(plan, emit))
            }
            LogicalPlan::Extension(_) if AsOfNode::of(plan).is_some() => {
                Box::pin(self.as_of(plan, emit))
            }
            LogicalPlan::Extension(_)
                if NumberNode::of(plan).is_some() || row_by_row(plan).is_some() =>
            {
                Box::pin(self.through(plan, emit))
            }
            other => return Err(never_continuous(other)),
        })
    }

    /// The rows of a stream.
    fn scan(&self, plan: &LogicalPlan, scan: &TableScan) -> Result<Piece> {
        let Some(table) = StreamTable::of(&scan.source) else { return self.table(plan) };
        let (slot, mut scan) = (Slot::default(), scan.clone());
        let source = Source::Stream(table.stream.name.clone());
        scan.source = table.slot_source(slot.clone());
        Ok(Piece { plan: LogicalPlan::TableScan(scan), inputs: vec![(slot, source)] })
    }

    /// DISTINCT: an aggregate without aggregates.
    async fn distinct(&self, input: &LogicalPlan, emit: Option<Emit>) -> Result<Piece> {
        let groups: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let input = LogicalPlanBuilder::from(input.clone());
        let plan = input.aggregate(groups.clone(), Vec::<Expr>::new())?.build()?;
        let LogicalPlan::Aggregate(node) = &plan else {
            return Err(Error::Bug("DISTINCT is no aggregate".to_string()));
        };
        self.aggregate(&plan, &node.input, &groups, emit).await
    }

    /// A node that works on single rows.
    async fn through(&self, plan: &LogicalPlan, emit: Option<Emit>) -> Result<Piece> {
        let (mut plans, mut inputs) = (Vec::new(), Vec::new());
        for input in plan.inputs() {
            let piece = self.piece(input, emit).await?;
            plans.push(piece.plan);
            inputs.extend(piece.inputs);
        }
        let plan = plan.with_new_exprs(plan.expressions(), plans)?;
        Ok(Piece { plan, inputs })
    }

    /// Rows of streams, and once those of tables among them.
    async fn union(&self, node: &Union, emit: Option<Emit>) -> Result<Piece> {
        let (mut plans, mut inputs) = (Vec::new(), Vec::new());
        for branch in &node.inputs {
            let piece = match reads_stream(branch)? {
                true => self.piece(branch, emit).await?,
                false => {
                    let table = TableOnce::new(TableRows::new(branch.as_ref().clone())?);
                    Self::cut("a table, once", branch.schema(), Node::new(Vec::new(), table))
                }
            };
            plans.push(piece.plan);
            inputs.extend(piece.inputs);
        }
        let union = LogicalPlan::Union(node.clone());
        Ok(Piece { plan: union.with_new_exprs(Vec::new(), plans)?, inputs })
    }

    /// A subtree without streams, beside streams.
    fn beside(&self, plan: &LogicalPlan) -> Result<Piece> {
        match subquery::depends(plan)? {
            true => Err(missing(
                "a LATERAL subquery of this form",
                "join the stream with the table, and compute what is needed of the result",
            )),
            false => self.table(plan),
        }
    }

    pub(super) fn table(&self, plan: &LogicalPlan) -> Result<Piece> {
        let slot = Slot::default();
        let rows = Source::Table(Box::new(TableRows::new(plan.clone())?));
        let plan = SlotNode::leaf(&slot, "a table", plan.schema());
        Ok(Piece { plan, inputs: vec![(slot, rows)] })
    }

    pub(super) async fn region(&self, piece: Piece) -> Result<Region> {
        let late = match late_rows(&piece.plan)? {
            Some(late) => {
                let count = self.planner.region(&late).await?;
                let in_time = without_watermark_filter(&piece.plan)?;
                let in_time = self.planner.region_of_sides(&in_time).await?;
                Some(Late { count, in_time, panes: false })
            }
            None => None,
        };
        let plan = self.planner.region_of_sides(&piece.plan).await?;
        let schema = arrow(piece.plan.schema());
        Ok(Region { inputs: piece.inputs, shown: plan.clone(), plan, schema, late })
    }

    /// What a cut hands on, as a leaf of the region above.
    pub(super) fn cut(what: &str, schema: &DFSchemaRef, node: Node) -> Piece {
        let slot = Slot::default();
        let plan = SlotNode::leaf(&slot, what, schema);
        Piece { plan, inputs: vec![(slot, Source::Node(Box::new(node)))] }
    }

    async fn aggregate(
        &self,
        plan: &LogicalPlan,
        input: &LogicalPlan,
        groups: &[Expr],
        emit: Option<Emit>,
    ) -> Result<Piece> {
        if !reads_stream(plan)? {
            return self.table(plan);
        }
        let grouping = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
        if groups.iter().any(grouping) {
            return Err(missing("GROUPING SETS", "one INSERT for each set of keys does it"));
        }
        let emit = emit.unwrap_or_default();
        let found = watermark_bound::group_key(input, groups);
        if found.is_none() && matches!(emit, Emit::Close { .. }) {
            return Err(never_final(plan, input));
        }
        let first = found.map(|(at, _)| plan.schema().field(at).name().clone());
        let below = self.piece(input, None).await?;
        let over = plan.with_new_exprs(plan.expressions(), vec![below.plan.clone()])?;
        let steps = self.planner.aggregate(&over, first.as_deref()).await?;
        let key = match (found, &first) {
            (Some((_, bound)), Some(name)) => {
                let column = steps.group(name)?;
                Some(Key { column, bound })
            }
            _ => None,
        };
        let is_time = |group: &Expr| watermark_bound::expression(input, group).is_some();
        let times = (0..groups.len()).filter(|at| is_time(&groups[*at]));
        let times: Vec<&str> = times.map(|at| plan.schema().field(at).name().as_str()).collect();
        let shown = steps.partial.clone();
        let of = arrow(plan.schema());
        let grouped = Grouping { plan, input: &below.plan, first: first.as_deref() };
        let (operator, rows, late): (Box<dyn Operator>, _, _) = match (emit, key) {
            (Emit::Close { .. }, Some(key)) => {
                let (mut closing, rows) = Aggregate::new(steps, key, &times, of)?;
                let late = self.late(grouped, Some(&mut closing), &rows).await?;
                (Box::new(closing), rows, late)
            }
            _ => {
                let (updating, rows) = UpdatingAggregate::new(steps, key, emit, of)?;
                let late = self.late(grouped, None, &rows).await?;
                (Box::new(updating), rows, late)
            }
        };
        let schema = rows.plan.schema();
        let region = Region { inputs: below.inputs, plan: rows, shown, schema, late };
        Ok(Self::cut("groups", plan.schema(), Node { regions: vec![region], operator }))
    }

    /// What an aggregate runs besides `rows`, the plan whose rows it takes, where rows may be late.
    /// Only one that closes its windows may take rows in time by panes.
    async fn late(
        &self,
        Grouping { plan, input, first }: Grouping<'_>,
        closing: Option<&mut Aggregate>,
        rows: &SlotPlan,
    ) -> Result<Option<Late>> {
        let Some(late) = late_rows(input)? else { return Ok(None) };
        let count = self.planner.region(&late).await?;
        let over = async |input: &LogicalPlan| -> Result<Steps> {
            let input = without_watermark_filter(input)?;
            let over = plan.with_new_exprs(plan.expressions(), vec![input])?;
            self.planner.aggregate(&over, first).await
        };
        let takes_rows = closing.as_ref().is_some_and(|closing| closing.takes_rows());
        if let (Some(closing), Some((slides, hop))) = (closing, panes::slides(input)?)
            && passes_windows_on(plan)
            && let Some(in_time) =
                closing.set_panes(over(&slides).await?, hop, &panes::group_edges(plan))?
        {
            return Ok(Some(Late { count, in_time, panes: true }));
        }
        let steps = over(input).await?;
        let of_rows = steps.rows.map(|rows| rows.plan);
        let in_time = of_rows.filter(|_| takes_rows).unwrap_or(steps.partial);
        // Columns may stand in another order there.
        let in_time = if in_time.gives_as(rows) { in_time } else { rows.clone() };
        Ok(Some(Late { count, in_time, panes: false }))
    }

    /// OVER: rows wait until their window is final, which every PARTITION BY holds.
    async fn window(&self, node: &Window, emit: Option<Emit>) -> Result<Piece> {
        let plan = LogicalPlan::Window(node.clone());
        if !reads_stream(&plan)? {
            return self.table(&plan);
        }
        final_only(emit, "OVER")?;
        let Some((column, bound)) = watermark_bound::partition_key(node) else {
            return Err(missing(
                "OVER without a window among its PARTITION BY",
                "a partition is final only with its window: PARTITION BY window_start, \
                 window_end, ..",
            ));
        };
        let sorted = SortedNode::of(&node.input);
        let input = sorted.map_or(node.input.as_ref(), SortedNode::input);
        let below = self.piece(input, None).await?;
        let over = |plan: LogicalPlan| -> Result<LogicalPlan> {
            let plan = match sorted {
                Some(sorted) => sorted.over(plan),
                None => plan,
            };
            let whole = LogicalPlan::Window(node.clone());
            Ok(whole.with_new_exprs(whole.expressions(), vec![plan])?)
        };
        let side = self.held(below, &column, bound).await?;
        let plan = self.planner.region(&over(side.leaf.clone())?).await?;
        let buffered = Buffered::new(vec![side.kept], plan, arrow(&node.schema));
        let cut = Node::new(vec![side.region], buffered);
        Ok(Self::cut("rows of final windows", &node.schema, cut))
    }

    /// SESSION: rows wait until their session is final.
    async fn sessions(&self, plan: &LogicalPlan, emit: Option<Emit>) -> Result<Piece> {
        let Some(node) = SessionNode::of(plan).filter(|_| reads_stream(plan).unwrap_or(true))
        else {
            return self.table(plan);
        };
        final_only(emit, "rows of SESSION")?;
        let Some(bound) = watermark_bound::column(plan, &SessionNode::end()) else {
            return Err(never_final(plan, plan));
        };
        let below = self.piece(&node.input, None).await?;
        // Columns that are not needed are let go before rows wait.
        let region = self.region(below).await?;
        let sessions = SessionWindows::new(bound, Sessions::new(node.spec()?)?);
        let cut = Node::new(vec![region], sessions);
        Ok(Self::cut("rows of final sessions", plan.schema(), cut))
    }

    /// A side whose rows wait until they are final.
    pub(super) async fn held(
        &self,
        below: Piece,
        column: &Column,
        bound: Bound,
    ) -> Result<HeldSide> {
        let schema = below.plan.schema().clone();
        let column = schema.index_of_column(column)?;
        let slot = Slot::default();
        let leaf = SlotNode::leaf(&slot, "final rows", &schema);
        let region = self.region(below).await?;
        Ok(HeldSide { region, leaf, kept: Side::new(Key { column, bound }, slot) })
    }
}

pub(super) struct HeldSide {
    pub(super) region: Region,
    pub(super) leaf: LogicalPlan,
    pub(super) kept: Side,
}

/// An aggregate over its input, and the group column that tells when a group is final.
#[derive(Clone, Copy)]
struct Grouping<'a> {
    plan: &'a LogicalPlan,
    input: &'a LogicalPlan,
    first: Option<&'a str>,
}

/// What says why a node over a stream has no continuous form.
fn never_continuous(node: &LogicalPlan) -> Error {
    match node {
        LogicalPlan::Sort(_) => missing(
            "ORDER BY",
            "results come by their windows; for the first of each window use ROW_NUMBER() OVER \
             (PARTITION BY window_start, window_end ORDER BY ..)",
        ),
        LogicalPlan::Limit(_) => missing(
            "LIMIT",
            "a stream has no end; for the first of each window use ROW_NUMBER() OVER (PARTITION \
             BY window_start, window_end ORDER BY ..)",
        ),
        other => missing(shown(other), "leave it to a batch query"),
    }
}

pub(super) fn arrow(schema: &DFSchemaRef) -> SchemaRef {
    Arc::new(schema.as_arrow().clone())
}
