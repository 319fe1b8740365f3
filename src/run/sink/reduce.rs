//! Ungrouped aggregation: every slot's partial rows of states, merged on the host.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Joins, Sink, Slot, Verdict, check_status, download_status};
use crate::agg::StateColumn;
use crate::error::Result;
use crate::fragment::arena;
use crate::fragment::spec::Aggregation;
use crate::kernel::{Shape, reduce};
use crate::record::{Command, Completed, Program};
use crate::run::aggregate;
use crate::run::runner::{Runner, Sender};

pub struct ReduceSink<'a> {
    runner: &'a Runner,
    aggregation: Arc<Aggregation>,
    state: Vec<u32>,
    program: Option<Arc<Program>>,
    out: &'a Sender,
}

impl<'a> ReduceSink<'a> {
    pub fn new(runner: &'a Runner, aggregation: Arc<Aggregation>, out: &'a Sender) -> Self {
        let state = vec![0; aggregation.words()];
        Self { runner, aggregation, state, program: None, out }
    }
}

#[async_trait]
impl<'a> Sink<'a> for ReduceSink<'a> {
    fn begin(&mut self, shape: &Shape) -> Result<()> {
        let make = || reduce::program(shape, &self.aggregation);
        self.program = Some(shape.program(&reduce::KERNEL, &[], make));
        Ok(())
    }

    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
        let Some(program) = self.program.clone() else { return Ok(vec![]) };
        let groups = slot.header[arena::H_GROUPS];
        let bytes = 4 * (groups as u64) * self.state.len().max(1) as u64;
        let partials = self.runner.player.buffer(bytes, "partials")?;
        let bindings = joins.bind(slot, std::slice::from_ref(&partials));
        slot.own = vec![partials.clone()];
        Ok(vec![
            Command::Dispatch { program, bindings, groups },
            download_status(slot),
            Command::Download { buffer: partials, range: 0..bytes },
        ])
    }

    fn done(&mut self, _: &mut Slot, completed: Completed) -> Result<Verdict<'a>> {
        check_status(&completed.downloads[0])?;
        for partial in completed.downloads[1].chunks_exact(self.state.len().max(1)) {
            aggregate::merge_state(&self.aggregation, &mut self.state, partial);
        }
        Ok(Verdict::Done)
    }

    async fn make_room(&mut self, _: &Slot) -> Result<()> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        let (accs, words) = (self.aggregation.accs(), self.aggregation.words());
        let states = StateColumn::of_rows(&accs, &self.state, words, 0)?;
        let arrays = aggregate::aggregate_columns(&self.aggregation, &states)?;
        aggregate::send(self.out, &self.aggregation.schema, arrays, 1).await
    }
}
