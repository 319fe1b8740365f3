//! What is done with the rows of regions at a cut: the operators, as one.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::execution::TaskContext;

use crate::error::{Error, Result};
use crate::stream::operator::aggregate::Aggregate;
use crate::stream::operator::asof_join::AsOfJoin;
use crate::stream::operator::buffered::Hold;
use crate::stream::operator::interval_join::IntervalJoin;
use crate::stream::operator::lookup_table::Once;
use crate::stream::operator::session::Sessions;
use crate::stream::operator::updating_aggregate::Updates;
use crate::stream::state::final_key::{Bound, Key};
use crate::stream::state::size::{Part, Size};
use crate::stream::state::spill::Folder;
use crate::stream::time::clock::{Clock, Times};

/// What stands at a cut.
pub enum Work {
    /// Rows go through.
    Pass,
    Aggregate(Box<Aggregate>),
    Updates(Box<Updates>),
    Hold(Box<Hold>),
    Interval(Box<IntervalJoin>),
    AsOf(Box<AsOfJoin>),
    /// By the clock that closes them.
    Sessions(Bound, Box<Sessions>),
    Once(Box<Once>),
}

impl Work {
    /// Whether it takes the rows of an aggregate, and not its states.
    pub fn takes_rows(&self) -> bool {
        matches!(self, Self::Aggregate(work) if work.takes_rows())
    }

    /// Takes the rows of each region; answers what is final.
    pub async fn advance(
        &mut self,
        mut rows: Vec<Vec<RecordBatch>>,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        match self {
            Self::Pass => Ok(rows.pop().unwrap_or_default()),
            Self::Aggregate(_) => Err(Error::Bug("an aggregate without a region".to_string())),
            Self::Updates(work) => work.advance(rows.pop().unwrap_or_default(), times, task).await,
            Self::Hold(work) => work.advance(rows, times, task).await,
            Self::Interval(work) => work.advance(rows, times, task).await,
            Self::AsOf(work) => work.advance(rows, times),
            Self::Sessions(bound, work) => {
                work.push(rows.pop().unwrap_or_default())?;
                work.close(times.of(bound.clock).saturating_sub(bound.lag_us))
            }
            Self::Once(once) => Ok(once.take()),
        }
    }

    pub fn open_until(&self) -> Option<i64> {
        match self {
            Self::Pass | Self::Once(_) => None,
            Self::Aggregate(work) => work.open_until(Clock::Event),
            Self::Updates(work) => work.open_until(Clock::Event),
            Self::Hold(work) => work.open_until(Clock::Event),
            Self::Interval(work) => work.open_until(),
            Self::AsOf(work) => work.open_until(),
            Self::Sessions(bound, work) => bound.until(work.open_until(), Clock::Event),
        }
    }

    pub fn open_processing_until(&self) -> Option<i64> {
        match self {
            Self::Aggregate(work) => work.open_until(Clock::Processing),
            Self::Updates(work) => work.open_until(Clock::Processing).max(work.due_us()),
            Self::Hold(work) => work.open_until(Clock::Processing),
            Self::Sessions(bound, work) => bound.until(work.open_until(), Clock::Processing),
            Self::Once(once) => once.due_us(),
            Self::Pass | Self::Interval(_) | Self::AsOf(_) => None,
        }
    }

    pub fn size(&self) -> Size {
        match self {
            Self::Pass | Self::Once(_) => Size::default(),
            Self::Aggregate(work) => work.size(),
            Self::Updates(work) => work.size(),
            Self::Hold(work) => {
                work.sides.iter().fold(Size::default(), |size, (.., held)| size + held.size())
            }
            Self::Interval(work) => work.size(),
            Self::AsOf(work) => work.size(),
            Self::Sessions(_, work) => {
                Size { rows: work.rows(), bytes: work.bytes(), ..Size::default() }
            }
        }
    }

    pub fn spillable(&self, times: &Times) -> Result<Vec<(i128, usize)>> {
        let mut all = Vec::new();
        let mut add = |key: &Key, parts: Vec<(i64, usize)>| {
            let clock = i128::from(key.clock(times));
            all.extend(parts.into_iter().map(|(time, bytes)| (i128::from(time) - clock, bytes)));
        };
        match self {
            Self::Aggregate(work) => add(work.key(), work.weights()?),
            Self::Hold(work) => {
                for (key, _, held) in &work.sides {
                    add(key, held.weights(key)?);
                }
            }
            Self::AsOf(work) => add(work.key(), work.weights()?),
            // What may change or meet others at any time stays in memory.
            Self::Pass | Self::Updates(_) | Self::Interval(_) => {}
            Self::Sessions(..) | Self::Once(_) => {}
        }
        Ok(all)
    }

    pub fn spill(&mut self, wait: i128, times: &Times, folder: &Folder) -> Result<()> {
        let from = |key: &Key| {
            let from_us = (i128::from(key.clock(times)) + wait).max(i64::MIN.into());
            i64::try_from(from_us).unwrap_or(i64::MAX)
        };
        match self {
            Self::Aggregate(work) => work.spill(from(work.key()), folder),
            Self::Hold(work) => work
                .sides
                .iter_mut()
                .try_for_each(|(key, _, held)| held.spill(key, from(key), folder)),
            Self::AsOf(work) => work.spill(from(work.key()), folder),
            Self::Pass | Self::Updates(_) | Self::Interval(_) => Ok(()),
            Self::Sessions(..) | Self::Once(_) => Ok(()),
        }
    }

    /// Into how many parts `save` cuts the state.
    pub fn sides(&self) -> usize {
        match self {
            Self::Pass => 0,
            Self::Aggregate(work) => work.sides(),
            Self::Sessions(..) | Self::Once(_) => 1,
            Self::Hold(work) => work.sides.len(),
            Self::Interval(_) | Self::Updates(_) | Self::AsOf(_) => 2,
        }
    }

    pub fn save(&mut self) -> Result<Vec<Part>> {
        let in_memory = |sides: Vec<Vec<RecordBatch>>| sides.into_iter().map(Part::from).collect();
        match self {
            Self::Pass => Ok(Vec::new()),
            Self::Aggregate(work) => work.save(),
            Self::Updates(work) => work.save().map(in_memory),
            Self::Hold(work) => work.sides.iter().map(|(.., held)| held.save()).collect(),
            Self::Interval(work) => work.save().map(in_memory),
            Self::AsOf(work) => work.save(),
            Self::Sessions(_, work) => Ok(vec![work.save()?.into()]),
            Self::Once(once) => once.save(),
        }
    }

    pub fn restore(&mut self, sides: Vec<Part>) -> Result<()> {
        let in_memory = |sides: Vec<Part>| sides.into_iter().map(|side| side.rows);
        match self {
            Self::Pass => Ok(()),
            Self::Aggregate(work) => work.restore(sides),
            Self::Updates(work) => {
                let mut sides = in_memory(sides);
                let (latest, changed) = (sides.next(), sides.next());
                work.restore(&latest.unwrap_or_default(), changed.unwrap_or_default())
            }
            Self::Hold(work) => {
                let sides = work.sides.iter_mut().zip(sides);
                sides.into_iter().try_for_each(|((key, _, held), part)| held.restore(key, part))
            }
            Self::Interval(work) => work.restore(in_memory(sides).collect()),
            Self::AsOf(work) => work.restore(sides),
            Self::Sessions(_, work) => work.restore(in_memory(sides).flatten().collect()),
            Self::Once(once) => {
                once.restore(&sides);
                Ok(())
            }
        }
    }
}
