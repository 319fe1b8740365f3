//! Plans over slots, run again for every filling; where a device can do one too, each run chooses
//! its side by what runs before have taken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use parking_lot::Mutex;

use super::input::Slot;
use crate::plan::memory::EPOCH_OUTPUT;
use crate::plan::{Decision, Measured, Side, decisions};
use crate::run::memory::bytes;

/// A plan over slots, run again for every filling.
#[derive(Debug, Clone)]
pub struct SlotPlan {
    pub plan: Arc<dyn ExecutionPlan>,
    /// The plan for the device, where each run chooses its side.
    device: Option<DevicePlan>,
}

/// What the device can do of a plan.
#[derive(Debug, Clone)]
pub struct DevicePlan {
    plan: Arc<dyn ExecutionPlan>,
    /// Of what it gives, where that is the partial states of the plan's rows.
    states: Option<SchemaRef>,
    measured: Arc<Mutex<Measured>>,
}

impl DevicePlan {
    pub fn new(plan: Arc<dyn ExecutionPlan>, measured: Measured) -> Self {
        Self { plan, states: None, measured: Arc::new(Mutex::new(measured)) }
    }

    /// What it runs.
    pub fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.plan
    }

    /// With less to run.
    pub fn running(self, plan: Arc<dyn ExecutionPlan>) -> Self {
        Self { plan, ..self }
    }

    /// Beside a plan for the rows of an aggregate: it gives their states.
    pub fn giving(self, states: &SchemaRef) -> Self {
        Self { states: Some(states.clone()), ..self }
    }
}

/// What a run has given.
#[derive(Default)]
pub struct Given {
    pub batches: Vec<RecordBatch>,
    /// They are partial states of the plan's rows.
    pub states: bool,
    /// Where the run has chosen its side.
    pub cost: Option<Cost>,
}

/// What a run has taken so far.
pub struct Cost {
    measured: Arc<Mutex<Measured>>,
    side: Side,
    rows: usize,
    took: Duration,
}

impl Cost {
    /// Tells it to those who choose, with what it took until the rows were of use.
    pub fn ends(self, more: Duration) {
        self.measured.lock().ran(self.side, self.rows, self.took + more);
    }
}

impl SlotPlan {
    pub fn new(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self { plan, device: None }
    }

    /// With a plan for the device, where there is one.
    pub fn with(self, device: Option<DevicePlan>) -> Self {
        Self { device, ..self }
    }

    /// Whether each run chooses its side.
    pub fn has_sides(&self) -> bool {
        self.device.is_some()
    }

    /// Whether the plan and another give the same columns, on each side.
    pub fn gives_as(&self, other: &Self) -> bool {
        let states = |plan: &Self| plan.device.as_ref().and_then(|device| device.states.clone());
        let both = states(self).zip(states(other));
        self.plan.schema() == other.plan.schema() && both.is_none_or(|(one, two)| one == two)
    }

    /// Where its fragments run; where each run chooses, as the last one did.
    pub fn decisions(&self) -> Vec<Decision> {
        let Some(device) = &self.device else { return decisions(&self.plan) };
        let (side, reason) = device.measured.lock().last();
        let mut all = decisions(&device.plan);
        for decision in all.iter_mut().filter(|decision| decision.side == Side::Gpu) {
            (decision.side, decision.reason) = (side, reason.clone());
        }
        all
    }

    /// All rows of the plan over what its slots hold. Their columns are named as `schema` says.
    pub async fn run(
        &self,
        schema: &SchemaRef,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        collect(&self.plan, schema, task).await
    }

    /// The same on the side that runs before speak for; `rows` are those in the slots.
    pub async fn run_on_a_side(
        &self,
        rows: usize,
        schema: &SchemaRef,
        task: &Arc<TaskContext>,
    ) -> Result<Given> {
        let Some(device) = &self.device else {
            let batches = self.run(schema, task).await?;
            return Ok(Given { batches, ..Given::default() });
        };
        let measured = device.measured.clone();
        let side = measured.lock().choose(rows);
        let (plan, states) = match side {
            Side::Cpu => (&self.plan, None),
            Side::Gpu => (&device.plan, device.states.as_ref()),
        };
        let begun = Instant::now();
        let batches = match collect(plan, states.unwrap_or(schema), task).await {
            Ok(batches) => batches,
            Err(error) if side == Side::Gpu => {
                // Nothing of it was given out, and the rows still lie in the slots.
                tracing::warn!(%error, "a fragment failed on the device, the host does it now");
                measured.lock().give_up();
                let batches = self.run(schema, task).await?;
                return Ok(Given { batches, ..Given::default() });
            }
            Err(error) => return Err(error),
        };
        let cost = Some(Cost { measured, side, rows, took: begun.elapsed() });
        Ok(Given { batches, states: states.is_some(), cost })
    }
}

/// All rows of a plan that may have run before, as far as the memory that queries have reaches.
async fn collect(
    plan: &Arc<dyn ExecutionPlan>,
    schema: &SchemaRef,
    task: &Arc<TaskContext>,
) -> Result<Vec<RecordBatch>> {
    // What a plan has computed stays in its nodes: a second run starts from a reset plan.
    let plan = reset_plan_states(plan.clone())?;
    let memory = MemoryConsumer::new(EPOCH_OUTPUT).register(task.memory_pool());
    let mut rows = execute_stream(plan, task.clone())?;
    let mut all = Vec::new();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            memory.try_grow(bytes(&batch)?)?;
            all.push(named(batch, schema)?);
        }
    }
    Ok(all)
}

/// All rows of a plan over these; of none there are none.
pub async fn run(
    (slot, plan): &(Slot, SlotPlan),
    rows: Vec<RecordBatch>,
    schema: &SchemaRef,
    task: &Arc<TaskContext>,
) -> crate::error::Result<Vec<RecordBatch>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    slot.put(rows);
    let out = plan.run(schema, task).await;
    slot.put(Vec::new());
    Ok(out?)
}

/// The same rows under another schema of the same types.
fn named(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let counted = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &counted)?)
}
