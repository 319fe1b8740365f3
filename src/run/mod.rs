//! Runs a fragment on a player: join tables first, then the main pipeline slot by slot.
//!
//! Rows never leave before the fragment is sure of them; an error says whether some have.
//!
//! ```text
//! ahead        what a run will dispatch, compiled while its first rows are read
//! pipeline     one pipeline, slot by slot: chunk, encode (column, lookup), submit, emit
//! sink/        what becomes of a slot: rows marked or selected, states reduced
//! group/       the sink of groups: their table on the device, and how they leave it
//! table/       build sides of joins, encoded or stored on the device
//! memory       what of it counts as memory of queries
//! runner       what all of these have at hand
//! ```

mod aggregate;
mod ahead;
mod chunk;
mod column;
mod encode;
mod group;
mod lookup;
pub mod memory;
mod pipeline;
mod ranges;
mod runner;
mod sink;
mod stats;
mod table;

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;

pub use chunk::row_bytes;
pub use runner::{Runner, Sender, SlotLimits};
pub use sink::mark::columns as marked_columns;
pub use sink::output::columns as select_columns;
pub use stats::Stats;

use crate::error::{Error, Result};
use crate::fragment::spec::{Pipeline, Sink};
use sink::{mark, output, reduce, select};
use table::state::TableState;

impl Runner {
    /// Reads all sources and sends the fragment's rows. Ends early, without an error, if nobody
    /// receives any more.
    pub async fn run(&self, sources: Vec<SendableRecordBatchStream>, out: &Sender) -> Result<()> {
        let linked = self.programs.linked();
        let ran = self.run_pipelines(sources, out).await;
        Stats::add(&self.stats.programs_linked, self.programs.linked() - linked);
        ran
    }

    async fn run_pipelines(
        &self,
        sources: Vec<SendableRecordBatchStream>,
        out: &Sender,
    ) -> Result<()> {
        if self.programs.linked() == 0 {
            self.player.compile_ahead(self.programs_ahead());
        }
        let mut sources: Vec<_> = sources.into_iter().map(Some).collect();
        let mut tables: Vec<TableState> = Vec::new();
        for number in 0..self.fragment.tables.len() {
            let source = take_source(&mut sources, self.fragment.tables[number].pipeline.source)?;
            tables.push(self.build_table(number, source, &tables).await?);
        }
        let source = take_source(&mut sources, self.fragment.main.source)?;
        let main = Arc::new(self.fragment.main.clone());
        let sink = self.sink(&main, &tables, out)?;
        self.run_pipeline(self.fragment.tables.len(), main, source, &tables, sink).await
    }

    /// The sink of a pipeline whose rows go to `out`.
    fn sink<'a>(
        &'a self,
        pipeline: &Arc<Pipeline>,
        tables: &[TableState],
        out: &'a Sender,
    ) -> Result<Box<dyn sink::Sink<'a> + 'a>> {
        Ok(match &pipeline.sink {
            Sink::Select { outputs, schema } => {
                if let Some(columns) = mark::columns(pipeline) {
                    return Ok(Box::new(mark::MarkSink::new(self, columns, schema, out)));
                }
                let columns = Arc::new(output::columns(outputs));
                Box::new(select::SelectSink::new(
                    self,
                    pipeline.clone(),
                    columns,
                    schema,
                    tables.into(),
                    out,
                ))
            }
            Sink::Reduce(aggregation) => {
                Box::new(reduce::ReduceSink::new(self, Arc::new(aggregation.clone()), out))
            }
            Sink::Group { keys, aggregation } => Box::new(group::GroupSink::new(
                self,
                Arc::new(keys.clone()),
                Arc::new(aggregation.clone()),
                out,
            )),
            Sink::Store { .. } => {
                return Err(Error::Bug("the rows of a build side that stays on the device".into()));
            }
        })
    }
}

fn take_source(
    sources: &mut [Option<SendableRecordBatchStream>],
    number: usize,
) -> Result<SendableRecordBatchStream> {
    let source = sources.get_mut(number).and_then(Option::take);
    source.ok_or_else(|| Error::Bug(format!("source {number} of a fragment is missing")))
}
