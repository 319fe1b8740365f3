//! Joins of a continuous query: on windows, by an interval, as of a time, and with tables.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::{Join, LogicalPlan};

use super::build::{Builder, Piece, arrow};
use super::{Node, Region};
use crate::error::Result;
use crate::plan::ExtensionNode;
use crate::stream::exec::input::{Slot, SlotNode};
use crate::stream::operator::asof_join::AsOfJoin;
use crate::stream::operator::buffered::Buffered;
use crate::stream::operator::interval_join::{IntervalJoin, ROWS, Side, numbered};
use crate::stream::operator::versioned_table::Versions;
use crate::stream::plan::asof::node::AsOfNode;
use crate::stream::plan::display::shown;
use crate::stream::plan::refuse::{final_only, missing};
use crate::stream::plan::streams::reads_stream;
use crate::stream::plan::{interval, watermark_bound};
use crate::stream::state::final_key::{Bound, Key};
use crate::stream::time::clock::Clock;
use crate::stream::time::emit::Emit;

impl Builder {
    pub(super) async fn join(&self, join: &Join, emit: Option<Emit>) -> Result<Piece> {
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
    pub(super) async fn lookup(
        &self,
        join: &Join,
        left: bool,
        emit: Option<Emit>,
    ) -> Result<Piece> {
        use JoinType::{
            Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi,
        };
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
    pub(in crate::stream) async fn as_of(
        &self,
        plan: &LogicalPlan,
        emit: Option<Emit>,
    ) -> Result<Piece> {
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
        let joined = AsOfJoin::new(key, of_left.lag_us, Versions::new(node.spec()?)?);
        let cut = Node::new(vec![one, other], joined);
        Ok(Self::cut("rows beside those of their time", plan.schema(), cut))
    }

    pub(super) async fn window_join(
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
        let buffered = Buffered::new(vec![one.kept, other.kept], plan, arrow(&join.schema));
        let cut = Node::new(vec![one.region, other.region], buffered);
        Ok(Self::cut("joined windows", &join.schema, cut))
    }

    pub(super) async fn interval_join(
        &self,
        join: &Join,
        condition: &interval::Condition,
    ) -> Result<Piece> {
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
        let joined = IntervalJoin {
            join_type: join.join_type,
            left,
            right,
            plan: self.planner.region(&pairs).await?,
            pairs: arrow(pairs.schema()),
            schema: arrow(&join.schema),
        };
        Ok(Self::cut("joined rows", &join.schema, Node::new(vec![one, other], joined)))
    }

    /// A side of an interval join, the leaf of its numbered rows and what computes them.
    pub(super) async fn side(
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
