//! Cuts a query's logical plan into a graph, and says what cannot run continuously.

use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{
    Distinct, Expr, Join, LogicalPlan, LogicalPlanBuilder, Union, Window,
};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;

use super::physical::{Planner, Steps, late_rows, without_late_rule};
use super::{Graph, Hold, Late, Node, Region, Source, Work};
use crate::error::{Error, Result};
use crate::stream::exec::input::{Slot, SlotNode, SlotPlan};
use crate::stream::log::definition::Stream;
use crate::stream::log::table::StreamTable;
use crate::stream::operator::aggregate::Aggregate;
use crate::stream::operator::asof_join::AsOfJoin;
use crate::stream::operator::interval_join::{IntervalJoin, ROWS, Side, numbered};
use crate::stream::operator::lookup_table::{Once, TableRows, Tables, pin};
use crate::stream::operator::session::Sessions;
use crate::stream::operator::updating_aggregate::Updates;
use crate::stream::operator::versioned_table::Versions;
use crate::stream::plan::asof::AsOfNode;
use crate::stream::plan::display::shown;
use crate::stream::plan::interval;
use crate::stream::plan::order::{NumberNode, SortedNode, in_log_order};
use crate::stream::plan::session::SessionNode;
use crate::stream::plan::subquery::{self, Over};
use crate::stream::plan::upsert_keys::upsert_keys;
use crate::stream::plan::watermark_bound::{self, Bound, Clock};
use crate::stream::plan::window::panes;
use crate::stream::plan::window::{COLUMNS, late_rule};
use crate::stream::state::buffer::{Held, Key};
use crate::stream::time::emit::Emit;

/// A subtree: a plan over leaves, and where the rows of the leaves come from.
struct Piece {
    plan: LogicalPlan,
    inputs: Vec<(Slot, Source)>,
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
        let written = format!("{}\n{asked:?}", plan.display_indent());
        let plan = subquery::scalars_joined(subquery::joined(plan.clone(), Over::Tables)?)?;
        let coerced = TypeCoercion::new().analyze(plan, state.config_options())?;
        let plan = in_log_order(coerced.clone())?;
        // What earlier versions kept of a query that goes by the order of the log is not in it.
        let fingerprint = match plan == coerced {
            true => written,
            false => format!("{written}\nin the order of the log"),
        };
        let mut tables = Tables::new();
        let plan = pin(plan, &mut tables)?;
        let planner = Planner::new(state);
        let builder = Builder { planner };
        let piece = builder.piece(&plan, Some(emit)).await?;
        let region = builder.region(piece).await?;
        let schema = region.schema.clone();
        let root = Node { regions: vec![region], work: Work::Pass };
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

/// The streams that a plan reads, each once.
pub fn streams(plan: &LogicalPlan) -> Result<Vec<Arc<Stream>>> {
    let mut streams: Vec<Arc<Stream>> = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = StreamTable::of(&scan.source)
            && !streams.iter().any(|known| known.name == table.stream.name)
        {
            streams.push(table.stream.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(streams)
}

pub fn missing(what: impl std::fmt::Display, instead: &str) -> Error {
    Error::User(format!("{what} cannot run continuously: {instead}"))
}

struct Builder {
    planner: Planner,
}

impl Builder {
    /// Cuts a subtree. `emit` is the query's where no cut lies above.
    fn piece<'a>(
        &'a self,
        plan: &'a LogicalPlan,
        emit: Option<Emit>,
    ) -> BoxFuture<'a, Result<Piece>> {
        Box::pin(async move {
            if !reads_stream(plan)? {
                return self.beside(plan);
            }
            check(plan)?;
            match plan {
                LogicalPlan::TableScan(scan) => match StreamTable::of(&scan.source) {
                    Some(table) => {
                        let (slot, mut scan) = (Slot::default(), scan.clone());
                        let source = Source::Stream(table.stream.name.clone());
                        scan.source = table.slot_source(slot.clone());
                        let plan = LogicalPlan::TableScan(scan);
                        Ok(Piece { plan, inputs: vec![(slot, source)] })
                    }
                    None => self.table(plan),
                },
                LogicalPlan::Filter(node) => match node.input.as_ref() {
                    LogicalPlan::Join(join)
                        if join.join_type == JoinType::Inner
                            && late_rule(&node.predicate).is_none() =>
                    {
                        self.join(&interval::filtered(join, node), emit).await
                    }
                    _ => self.through(plan, emit).await,
                },
                LogicalPlan::Projection(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Unnest(_) => self.through(plan, emit).await,
                LogicalPlan::Union(node) => self.union(node, emit).await,
                LogicalPlan::Aggregate(node) => {
                    self.aggregate(plan, &node.input, &node.group_expr, emit).await
                }
                LogicalPlan::Distinct(Distinct::All(input)) => self.distinct(input, emit).await,
                LogicalPlan::Window(node) => self.window(node, emit).await,
                LogicalPlan::Join(join) => self.join(join, emit).await,
                LogicalPlan::Extension(_) if SessionNode::of(plan).is_some() => {
                    self.sessions(plan, emit).await
                }
                LogicalPlan::Extension(_) if AsOfNode::of(plan).is_some() => {
                    self.as_of(plan, emit).await
                }
                LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => self.table(plan),
                LogicalPlan::Extension(_) if NumberNode::of(plan).is_some() => {
                    self.numbered(plan, emit).await
                }
                LogicalPlan::Sort(_) => Err(missing(
                    "ORDER BY",
                    "results come by their windows; for the first of each window use ROW_NUMBER() \
                     OVER (PARTITION BY window_start, window_end ORDER BY ..)",
                )),
                LogicalPlan::Limit(_) => Err(missing(
                    "LIMIT",
                    "a stream has no end; for the first of each window use ROW_NUMBER() OVER \
                     (PARTITION BY window_start, window_end ORDER BY ..)",
                )),
                other => Err(missing(shown(other), "leave it to a batch query")),
            }
        })
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
                    let table = Once::new(TableRows::new(branch.as_ref().clone())?);
                    let work = Work::Once(Box::new(table));
                    Self::cut("a table, once", branch.schema(), Node { regions: Vec::new(), work })
                }
            };
            plans.push(piece.plan);
            inputs.extend(piece.inputs);
        }
        let union = LogicalPlan::Union(node.clone());
        Ok(Piece { plan: union.with_new_exprs(Vec::new(), plans)?, inputs })
    }

    /// Rows of a stream with the places of their parts, or those of a table with their own.
    async fn numbered(&self, plan: &LogicalPlan, emit: Option<Emit>) -> Result<Piece> {
        match reads_stream(plan)? {
            true => self.through(plan, emit).await,
            false => self.table(plan),
        }
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

    fn table(&self, plan: &LogicalPlan) -> Result<Piece> {
        let slot = Slot::default();
        let rows = Source::Table(Box::new(TableRows::new(plan.clone())?));
        let plan = SlotNode::leaf(&slot, "a table", plan.schema());
        Ok(Piece { plan, inputs: vec![(slot, rows)] })
    }

    async fn region(&self, piece: Piece) -> Result<Region> {
        let late = match late_rows(&piece.plan)? {
            Some(late) => {
                let count = self.planner.region(&late).await?;
                let in_time = without_late_rule(&piece.plan)?;
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
    fn cut(what: &str, schema: &DFSchemaRef, node: Node) -> Piece {
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
        let (mut work, rows) = match (emit, key) {
            (Emit::Close { .. }, Some(key)) => {
                let (work, plan) = Aggregate::new(steps, key, &times, of)?;
                (Work::Aggregate(Box::new(work)), plan)
            }
            _ => {
                let (work, plan) = Updates::new(steps, key, emit, of)?;
                (Work::Updates(Box::new(work)), plan)
            }
        };
        let schema = rows.plan.schema();
        let late = self.late(plan, &below.plan, first.as_deref(), &mut work, &rows).await?;
        let region = Region { inputs: below.inputs, plan: rows, shown, schema, late };
        let node = Node { regions: vec![region], work };
        Ok(Self::cut("groups", plan.schema(), node))
    }

    /// What an aggregate runs besides `rows`, the plan whose rows it takes, where rows may be late.
    async fn late(
        &self,
        plan: &LogicalPlan,
        input: &LogicalPlan,
        first: Option<&str>,
        work: &mut Work,
        rows: &SlotPlan,
    ) -> Result<Option<Late>> {
        let Some(late) = late_rows(input)? else { return Ok(None) };
        let count = self.planner.region(&late).await?;
        let over = async |input: &LogicalPlan| -> Result<Steps> {
            let input = without_late_rule(input)?;
            let over = plan.with_new_exprs(plan.expressions(), vec![input])?;
            self.planner.aggregate(&over, first).await
        };
        if let (Work::Aggregate(work), Some((slides, hop))) = (&mut *work, panes::slides(input)?)
            && passes_windows_on(plan)
            && let Some(in_time) = work.set_panes(over(&slides).await?, hop)?
        {
            return Ok(Some(Late { count, in_time, panes: true }));
        }
        let steps = over(input).await?;
        let of_rows = steps.rows.map(|rows| rows.plan);
        let in_time = of_rows.filter(|_| work.takes_rows()).unwrap_or(steps.partial);
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
        let hold = Hold { sides: vec![side.kept], plan, schema: arrow(&node.schema) };
        let node_ = Node { regions: vec![side.region], work: Work::Hold(Box::new(hold)) };
        Ok(Self::cut("rows of final windows", &node.schema, node_))
    }

    /// SESSION: rows wait until their session is final.
    async fn sessions(&self, plan: &LogicalPlan, emit: Option<Emit>) -> Result<Piece> {
        let Some(node) = SessionNode::of(plan).filter(|_| reads_stream(plan).unwrap_or(true))
        else {
            return self.table(plan);
        };
        final_only(emit, "rows of SESSION")?;
        let end = Column::from_name(COLUMNS[1]);
        let Some(bound) = watermark_bound::column(plan, &end) else {
            return Err(never_final(plan, plan));
        };
        let below = self.piece(&node.input, None).await?;
        // Columns that are not needed are let go before rows wait.
        let region = self.region(below).await?;
        let sessions = Box::new(Sessions::new(node.spec()?)?);
        let node_ = Node { regions: vec![region], work: Work::Sessions(bound, sessions) };
        Ok(Self::cut("rows of final sessions", plan.schema(), node_))
    }

    /// A side whose rows wait until they are final.
    async fn held(&self, below: Piece, column: &Column, bound: Bound) -> Result<HeldSide> {
        let schema = below.plan.schema().clone();
        let column = schema.index_of_column(column)?;
        let slot = Slot::default();
        let leaf = SlotNode::leaf(&slot, "final rows", &schema);
        let region = self.region(below).await?;
        Ok(HeldSide { region, leaf, kept: (Key { column, bound }, slot, Held::default()) })
    }

    async fn join(&self, join: &Join, emit: Option<Emit>) -> Result<Piece> {
        let plan = LogicalPlan::Join(join.clone());
        match (reads_stream(&join.left)?, reads_stream(&join.right)?) {
            (false, false) => self.table(&plan),
            (true, true) => {
                final_only(emit, "a join of streams")?;
                if join.null_aware {
                    return Err(missing(
                        "NOT IN over a stream, of values that may be NULL,",
                        "one NULL, whenever it came, would take all rows back: NOT EXISTS with \
                         an interval of times or a window among its conditions does it",
                    ));
                }
                if let Some(keys) = watermark_bound::window_keys(join) {
                    return self.window_join(join, keys).await;
                }
                match interval::condition(join) {
                    Some(condition) => self.interval_join(join, &condition).await,
                    None => Err(missing(
                        format_args!("the join of two streams ({})", shown(&plan)),
                        "its state would grow for ever, and its results would need retractions: \
                         join them on window_start and window_end of the same windows, or bound \
                         the distance of their event times (a.ts BETWEEN b.ts AND b.ts + \
                         INTERVAL '10' MINUTE)",
                    )),
                }
            }
            (left, _) => self.lookup(join, left, emit).await,
        }
    }

    /// A stream's rows beside those of a table.
    async fn lookup(&self, join: &Join, left: bool, emit: Option<Emit>) -> Result<Piece> {
        use JoinType::{Inner, Left, LeftAnti, LeftMark, LeftSemi};
        use JoinType::{Right, RightAnti, RightMark, RightSemi};
        let row_by_row = match join.join_type {
            Inner => true,
            Left | LeftSemi | LeftAnti | LeftMark => left,
            Right | RightSemi | RightAnti | RightMark => !left,
            _ => false,
        };
        if !row_by_row {
            return Err(missing(
                format_args!("{} JOIN with a table on the side that is kept", join.join_type),
                "a row of the table would have to wait for ever: keep the stream's rows",
            ));
        }
        let (one, other) =
            (self.piece(&join.left, emit).await?, self.piece(&join.right, emit).await?);
        let whole = LogicalPlan::Join(join.clone());
        let plan = whole.with_new_exprs(whole.expressions(), vec![one.plan, other.plan])?;
        Ok(Piece { plan, inputs: one.inputs.into_iter().chain(other.inputs).collect() })
    }

    /// AS OF: left rows wait until no right row can come any more that is not after them.
    async fn as_of(&self, plan: &LogicalPlan, emit: Option<Emit>) -> Result<Piece> {
        let Some(node) = AsOfNode::of(plan) else { return self.table(plan) };
        match (reads_stream(&node.left)?, reads_stream(&node.right)?) {
            (false, false) => return self.table(plan),
            (true, false) => {
                let (one, other) = (self.piece(&node.left, emit).await?, self.table(&node.right)?);
                let plan = plan.with_new_exprs(plan.expressions(), vec![one.plan, other.plan])?;
                let inputs = one.inputs.into_iter().chain(other.inputs).collect();
                return Ok(Piece { plan, inputs });
            }
            (false, true) => {
                return Err(missing(
                    "an as-of join of a table with a stream",
                    "its rows are those of the left side, and a table has no watermark to tell \
                     when they are final: put the stream left, or leave it to a batch query",
                ));
            }
            (true, true) => final_only(emit, "an as-of join of streams")?,
        }
        let (left, right) = &node.times;
        let event = |side: &LogicalPlan, time: &Column| {
            let bound =
                watermark_bound::column(side, time).filter(|bound| bound.clock == Clock::Event);
            bound.ok_or_else(|| {
                missing(
                    format_args!("an as-of join of streams by {time}"),
                    "a row is final when the watermark has passed its time: compare the columns \
                     that WATERMARK FOR names, less a constant interval at most",
                )
            })
        };
        let (of_left, of_right) = (event(&node.left, left)?, event(&node.right, right)?);
        let column = node.left.schema().index_of_column(left)?;
        let key = Key { column, bound: Bound { origin: 0, ..of_right } };
        let one = self.region(self.piece(&node.left, None).await?).await?;
        let other = self.region(self.piece(&node.right, None).await?).await?;
        let work = AsOfJoin::new(key, of_left.lag_us, Versions::new(node.spec()?)?);
        let node_ = Node { regions: vec![one, other], work: Work::AsOf(Box::new(work)) };
        Ok(Self::cut("rows beside those of their time", plan.schema(), node_))
    }

    async fn window_join(
        &self,
        join: &Join,
        (left, right, bound): (Column, Column, Bound),
    ) -> Result<Piece> {
        let one = self.piece(&join.left, None).await?;
        let one = self.held(one, &left, bound).await?;
        let other = self.piece(&join.right, None).await?;
        let other = self.held(other, &right, bound).await?;
        let whole = LogicalPlan::Join(join.clone());
        let plan = whole.with_new_exprs(whole.expressions(), vec![one.leaf, other.leaf])?;
        let plan = self.planner.region(&plan).await?;
        let hold = Hold { sides: vec![one.kept, other.kept], plan, schema: arrow(&join.schema) };
        let regions = vec![one.region, other.region];
        let node = Node { regions, work: Work::Hold(Box::new(hold)) };
        Ok(Self::cut("joined windows", &join.schema, node))
    }

    async fn interval_join(&self, join: &Join, condition: &interval::Condition) -> Result<Piece> {
        if join.join_type == JoinType::RightMark {
            return Err(missing("a right mark join of streams", "write it as a LEFT JOIN"));
        }
        let (left, left_leaf, one) =
            self.side(&join.left, &condition.left, condition.left_over_us(), ROWS[0]).await?;
        let (right, right_leaf, other) =
            self.side(&join.right, &condition.right, condition.right_over_us(), ROWS[1]).await?;
        let pairs = Join::try_new(
            Arc::new(left_leaf),
            Arc::new(right_leaf),
            join.on.clone(),
            join.filter.clone(),
            JoinType::Inner,
            join.join_constraint,
            join.null_equality,
            false,
        )?;
        let pairs = LogicalPlan::Join(pairs);
        let work = IntervalJoin {
            join_type: join.join_type,
            left,
            right,
            plan: self.planner.region(&pairs).await?,
            pairs: arrow(pairs.schema()),
            schema: arrow(&join.schema),
        };
        let node = Node { regions: vec![one, other], work: Work::Interval(Box::new(work)) };
        Ok(Self::cut("joined rows", &join.schema, node))
    }

    /// A side of an interval join, the leaf of its numbered rows and what computes them.
    async fn side(
        &self,
        input: &LogicalPlan,
        time: &Column,
        over_us: i64,
        numbers: &str,
    ) -> Result<(Side, LogicalPlan, Region)> {
        let piece = self.piece(input, None).await?;
        let qualified = piece.plan.schema().clone();
        let region = self.region(piece).await?;
        let slot = Slot::default();
        let fields = qualified.iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone()));
        let number = numbered(&arrow(&qualified), numbers);
        let number: Arc<Field> = number.fields()[number.fields().len() - 1].clone();
        let fields = fields.chain([(None, number)]).collect();
        let with_numbers =
            DFSchema::new_with_metadata(fields, qualified.as_arrow().metadata().clone())?;
        let leaf = SlotNode::leaf(&slot, "rows to join", &Arc::new(with_numbers));
        let bound = Bound { clock: Clock::Event, lag_us: over_us, origin: 0 };
        let key = Key { column: qualified.index_of_column(time)?, bound };
        Ok((Side::new(key, slot, region.schema.clone()), leaf, region))
    }
}

struct HeldSide {
    region: Region,
    leaf: LogicalPlan,
    kept: (Key, Slot, Held),
}

fn arrow(schema: &DFSchemaRef) -> SchemaRef {
    Arc::new(schema.as_arrow().clone())
}

fn reads_stream(plan: &LogicalPlan) -> Result<bool> {
    Ok(subquery::reads_stream(plan)?)
}

/// Aggregates whose states are the same in any order of merging.
const MERGED: [&str; 10] =
    ["count", "sum", "avg", "min", "max", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor"];

/// Whether an aggregate has the times of its windows as groups, and computes nothing of them.
fn passes_windows_on(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Aggregate(node) = plan else { return false };
    let of_windows =
        |expr: &Expr| expr.column_refs().iter().any(|column| panes::edge(&column.name).is_some());
    let merges = |expr: &Expr| match expr.clone().unalias() {
        Expr::AggregateFunction(function) => {
            MERGED.contains(&function.func.name()) && function.params.order_by.is_empty()
        }
        _ => false,
    };
    node.group_expr.iter().all(|group| matches!(group, Expr::Column(_)) || !of_windows(group))
        && node.aggr_expr.iter().all(|expr| merges(expr) && !of_windows(expr))
}

/// Only aggregates give results that change.
fn final_only(emit: Option<Emit>, what: &str) -> Result<()> {
    match emit {
        Some(Emit::Update | Emit::Periodic { .. }) => Err(missing(
            format_args!("{what} with EMIT ON UPDATE or EMIT PERIODIC"),
            "its changes would need retractions; aggregates are given out again",
        )),
        _ => Ok(()),
    }
}

/// Subqueries that read streams are joins in disguise.
fn check(plan: &LogicalPlan) -> Result<()> {
    let mut reads = false;
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            if let Some(subquery) = subquery::of(expr) {
                reads |= subquery::reads_stream(&subquery.subquery)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match reads {
        true => Err(missing(
            "a subquery over a stream within an expression",
            "EXISTS and IN can, beside a stream and in WHERE; else join with the subquery, on \
             window_start and window_end or by an interval of times (l.ts BETWEEN r.ts AND r.ts + \
             INTERVAL '10' MINUTE)",
        )),
        false => Ok(()),
    }
}

/// Why the groups of an aggregate are never final.
fn never_final(plan: &LogicalPlan, input: &LogicalPlan) -> Error {
    let without = streams(input)
        .ok()
        .and_then(|streams| streams.into_iter().find(|stream| stream.watermark.is_none()));
    let by_window = |column: Column| COLUMNS.contains(&column.name.as_str());
    match without {
        Some(stream) => Error::User(format!(
            "stream {} has no watermark, so no window ever closes: CREATE STREAM {} (.., \
             WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)",
            stream.name, stream.name
        )),
        None if plan.schema().columns().into_iter().any(by_window) => missing(
            format_args!("windows of rows that no watermark follows ({})", shown(plan)),
            "they are never final: of a stream's __late rows, and of times that differ in their \
             clocks, windows are left to a batch query",
        ),
        None => missing(
            format_args!("an aggregate that groups by no window ({})", shown(plan)),
            "its groups are never final: group by window_start and window_end of TUMBLE, HOP, \
             CUMULATE or SESSION, or let changes out with EMIT ON UPDATE",
        ),
    }
}

/// Whether a query gives out the rows of an aggregate.
fn changes(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => true,
        LogicalPlan::SubqueryAlias(node) => changes(&node.input),
        LogicalPlan::Projection(node) => changes(&node.input),
        LogicalPlan::Filter(node) => changes(&node.input),
        _ => false,
    }
}
