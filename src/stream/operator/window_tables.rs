//! Groups of open windows in hash tables, one for each window: a row is hashed once, and a window
//! that is over is read off its table.
//!
//! The columns that are the same all over a window are not hashed. What tables are not made for
//! (times that are NULL, batches with few rows in each of many windows) is left to the states.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::{SortColumn, cast, lexsort_to_indices, sort_to_indices, take};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use crate::error::{Error, Result};
use crate::stream::state::final_key::{Key, micros};
use crate::stream::state::size::Size;

/// Open windows that have tables, at most.
const MOST_TABLES: usize = 4096;

/// Windows that the rows of one batch are in, at most, unless each has so many rows.
const FEW_WINDOWS: usize = 64;
const ROWS_OF_A_WINDOW: usize = 64;

/// What an aggregate computes of each row.
struct Recipe {
    groups: Vec<Arc<dyn PhysicalExpr>>,
    /// Which groups are times of the window, and which are not.
    times: Vec<usize>,
    others: Vec<usize>,
    /// Of the other groups.
    hashed: SchemaRef,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// Of partial states, and of results.
    states: SchemaRef,
    results: SchemaRef,
}

/// A window: when it is final, in microseconds, and its times in ticks of their types.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Window {
    final_us: i64,
    times: Vec<i64>,
}

type Accumulators = Vec<Box<dyn GroupsAccumulator>>;

/// The groups of one window.
struct Table {
    /// `None` where the window is the only group.
    values: Option<Box<dyn GroupValues>>,
    accumulators: Accumulators,
    /// How many groups there are.
    len: usize,
}

/// The open windows of one aggregate.
pub struct OpenWindows {
    recipe: Recipe,
    key: Key,
    tables: BTreeMap<Window, Table>,
    /// The group of each row.
    indices: Vec<usize>,
}

/// The columns of some rows that one batch has in a window.
struct Part<'a> {
    groups: &'a [ArrayRef],
    arguments: &'a [Vec<ArrayRef>],
    filters: &'a [Option<ArrayRef>],
    rows: usize,
}

impl OpenWindows {
    /// For an aggregate over rows, of which the groups `times` are times of windows and `key` one
    /// of them; `None` where it takes more than tables.
    pub fn new(
        aggregate: &AggregateExec,
        states: &SchemaRef,
        times: &[usize],
        key: Key,
    ) -> Result<Option<Self>> {
        let plain = |aggregate: &Arc<AggregateFunctionExpr>| {
            aggregate.groups_accumulator_supported() && aggregate.order_bys().is_empty()
        };
        let results = aggregate.schema();
        let is_time =
            |at: &usize| matches!(results.field(*at).data_type(), DataType::Timestamp(..));
        if !aggregate.aggr_expr().iter().all(plain)
            || !times.iter().all(is_time)
            || !times.contains(&key.column)
        {
            return Ok(None);
        }
        let groups = aggregate.group_expr().expr().iter().map(|(expr, _)| expr.clone());
        let groups: Vec<_> = groups.collect();
        let others: Vec<usize> = (0..groups.len()).filter(|at| !times.contains(at)).collect();
        let hashed = others.iter().map(|at| states.fields()[*at].clone());
        let aggregates = aggregate.aggr_expr().to_vec();
        let recipe = Recipe {
            groups,
            times: times.to_vec(),
            hashed: Arc::new(Schema::new(hashed.collect::<Vec<_>>())),
            others,
            arguments: aggregates.iter().map(|aggregate| aggregate.expressions()).collect(),
            filters: aggregate.filter_expr().to_vec(),
            aggregates,
            states: states.clone(),
            results,
        };
        Ok(Some(Self { recipe, key, tables: BTreeMap::new(), indices: Vec::new() }))
    }

    /// Takes rows; answers the batches that it leaves to the states.
    pub fn update(&mut self, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        let mut left = Vec::new();
        for batch in rows {
            if batch.num_rows() > 0 && !self.take(&batch)? {
                left.push(batch);
            }
        }
        Ok(left)
    }

    /// Whether the tables have taken the rows.
    fn take(&mut self, batch: &RecordBatch) -> Result<bool> {
        let groups = evaluate(&self.recipe.groups, batch)?;
        let times = self.recipe.times.iter().map(|at| ticks(&groups[*at]));
        let Some(times) = times.collect::<Result<Option<Vec<_>>>>()? else { return Ok(false) };
        let Some((windows, of_row)) = self.windows(&times, batch.num_rows())? else {
            return Ok(false);
        };
        let arguments = self.recipe.arguments.iter().map(|exprs| evaluate(exprs, batch));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let filters = self.recipe.filters.iter().map(|filter| match filter {
            Some(filter) => Ok(Some(evaluate(std::slice::from_ref(filter), batch)?.remove(0))),
            None => Ok(None),
        });
        let filters = filters.collect::<Result<Vec<_>>>()?;
        let groups: Vec<ArrayRef> =
            self.recipe.others.iter().map(|at| groups[*at].clone()).collect();
        if let [window] = windows.as_slice() {
            let rows = batch.num_rows();
            let part = Part { groups: &groups, arguments: &arguments, filters: &filters, rows };
            self.add(window.clone(), &part)?;
            return Ok(true);
        }
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); windows.len()];
        for (row, window) in of_row.iter().enumerate() {
            rows[*window as usize].push(row as u32);
        }
        for (window, rows) in windows.into_iter().zip(rows) {
            let rows = UInt32Array::from(rows);
            let of = |column: &ArrayRef| take(column, &rows, None);
            let groups = groups.iter().map(of).collect::<Result<Vec<_>, _>>()?;
            let arguments = arguments.iter().map(|columns| columns.iter().map(of).collect());
            let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
            let filters = filters.iter().map(|filter| filter.as_ref().map(of).transpose());
            let filters = filters.collect::<Result<Vec<_>, _>>()?;
            let rows = rows.len();
            let part = Part { groups: &groups, arguments: &arguments, filters: &filters, rows };
            self.add(window, &part)?;
        }
        Ok(true)
    }

    /// The windows of some rows, and which of them each row is in; `None` where there are too many.
    fn windows(
        &self,
        times: &[Int64Array],
        rows: usize,
    ) -> Result<Option<(Vec<Window>, Vec<u32>)>> {
        let most = FEW_WINDOWS.max(rows / ROWS_OF_A_WINDOW);
        let at = |row: usize| times.iter().map(move |times| times.value(row));
        let mut known: Vec<Vec<i64>> = vec![at(0).collect()];
        let mut places = HashMap::from([(known[0].clone(), 0_u32)]);
        let mut of_row = Vec::with_capacity(rows);
        let (mut last, mut probe) = (0_u32, Vec::new());
        for row in 0..rows {
            if !at(row).eq(known[last as usize].iter().copied()) {
                probe.clear();
                probe.extend(at(row));
                last = match places.get(&probe) {
                    Some(place) => *place,
                    None => {
                        places.insert(probe.clone(), known.len() as u32);
                        known.push(probe.clone());
                        known.len() as u32 - 1
                    }
                };
                if known.len() > most {
                    return Ok(None);
                }
            }
            of_row.push(last);
        }
        let key = self.recipe.times.iter().position(|at| *at == self.key.column).unwrap_or(0);
        let ticks = Int64Array::from_iter_values(known.iter().map(|times| times[key]));
        let data_type = self.recipe.results.field(self.key.column).data_type();
        let finals = micros(&cast(&ticks, data_type)?, self.key.bound.lag_us)?;
        let windows = known.into_iter().zip(finals.values());
        let windows = windows.map(|(times, final_us)| Window { final_us: *final_us, times });
        let windows: Vec<Window> = windows.collect();
        let new = windows.iter().filter(|window| !self.tables.contains_key(window)).count();
        Ok((self.tables.len() + new <= MOST_TABLES).then_some((windows, of_row)))
    }

    fn add(&mut self, window: Window, part: &Part<'_>) -> Result<()> {
        let table = match self.tables.entry(window) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Table::new(&self.recipe)?)
            }
        };
        table.update(part, &mut self.indices)
    }

    /// The times of the window that is final first, in the order of the groups.
    pub fn first(&self) -> Option<&[i64]> {
        self.tables.first_key_value().map(|(window, _)| window.times.as_slice())
    }

    /// The times of the window that is final last.
    pub fn last(&self) -> Option<&[i64]> {
        self.tables.last_key_value().map(|(window, _)| window.times.as_slice())
    }

    /// When the last window is final; `None` where none is open.
    pub fn latest_us(&self) -> Option<i64> {
        self.tables.last_key_value().map(|(window, _)| window.final_us)
    }

    pub fn size(&self) -> Size {
        let rows = self.tables.values().map(|table| table.len).sum();
        let bytes = self.tables.values().map(Table::bytes).sum();
        Size { rows, bytes, ..Size::default() }
    }

    /// When each window is final, and what it takes.
    pub fn weights(&self) -> Vec<(i64, usize)> {
        self.tables.iter().map(|(window, table)| (window.final_us, table.bytes())).collect()
    }

    /// Takes out the windows that are final at a time.
    fn take_final(&mut self, clock_us: i64) -> BTreeMap<Window, Table> {
        let open = match clock_us.checked_add(1) {
            Some(final_us) => self.tables.split_off(&Window { final_us, times: Vec::new() }),
            None => BTreeMap::new(),
        };
        std::mem::replace(&mut self.tables, open)
    }

    /// Takes out the windows that are final at a time, as partial states.
    pub fn take_states(&mut self, clock_us: i64) -> Result<Vec<RecordBatch>> {
        let tables = self.take_final(clock_us);
        self.states(tables)
    }

    /// Takes out the windows that are final at a time or after it, as partial states.
    pub fn take_states_from(&mut self, from_us: i64) -> Result<Vec<RecordBatch>> {
        let tables = self.tables.split_off(&Window { final_us: from_us, times: Vec::new() });
        self.states(tables)
    }

    fn states(&self, tables: BTreeMap<Window, Table>) -> Result<Vec<RecordBatch>> {
        let tables = tables.into_iter().map(|(window, table)| {
            let (groups, mut accumulators) = self.groups(&window, table)?;
            let states = accumulators.iter_mut().map(|one| one.state(EmitTo::All));
            let states = states.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
            let columns = groups.into_iter().chain(states).collect();
            Ok(RecordBatch::try_new(self.recipe.states.clone(), columns)?)
        });
        tables.collect()
    }

    /// Takes out the windows that are final at a time, as results: by window, then by the other
    /// groups.
    pub fn take_results(&mut self, clock_us: i64) -> Result<Vec<RecordBatch>> {
        let tables = self.take_final(clock_us).into_iter().map(|(window, table)| {
            let (groups, mut accumulators) = self.groups(&window, table)?;
            let results = accumulators.iter_mut().map(|one| one.evaluate(EmitTo::All));
            let results = results.collect::<Result<Vec<_>, _>>()?;
            let order = self.order(&groups)?;
            let mut columns: Vec<ArrayRef> = groups.into_iter().chain(results).collect();
            if let Some(order) = order {
                for column in &mut columns {
                    *column = take(column, &order, None)?;
                }
            }
            Ok(RecordBatch::try_new(self.recipe.results.clone(), columns)?)
        });
        tables.collect()
    }

    /// The group columns of a table, and what is accumulated.
    fn groups(&self, window: &Window, mut table: Table) -> Result<(Vec<ArrayRef>, Accumulators)> {
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.recipe.groups.len()];
        for (at, tick) in self.recipe.times.iter().zip(&window.times) {
            let ticks = Int64Array::from_value(*tick, table.len);
            columns[*at] = Some(cast(&ticks, self.recipe.states.field(*at).data_type())?);
        }
        if let Some(values) = &mut table.values {
            let values = values.emit(EmitTo::All)?;
            for (at, column) in self.recipe.others.iter().zip(values) {
                columns[*at] = Some(column);
            }
        }
        let columns = columns.into_iter().collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| Error::Bug("a group has no column".to_string()))?;
        Ok((columns, table.accumulators))
    }

    /// The order of a table's groups.
    fn order(&self, groups: &[ArrayRef]) -> Result<Option<UInt32Array>> {
        let others = self.recipe.others.iter().map(|at| groups[*at].clone());
        let others: Vec<ArrayRef> = others.collect();
        match others.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(sort_to_indices(one, None, None)?)),
            all => {
                let column =
                    |values: &ArrayRef| SortColumn { values: values.clone(), options: None };
                let columns: Vec<SortColumn> = all.iter().map(column).collect();
                Ok(Some(lexsort_to_indices(&columns, None)?))
            }
        }
    }
}

impl Table {
    fn new(recipe: &Recipe) -> Result<Self> {
        let accumulators = recipe.aggregates.iter().map(|one| one.create_groups_accumulator());
        let hashed = (!recipe.others.is_empty()).then(|| recipe.hashed.clone());
        let values = hashed.map(|hashed| new_group_values(hashed, &GroupOrdering::None));
        Ok(Self {
            values: values.transpose()?,
            accumulators: accumulators.collect::<Result<_, _>>()?,
            len: 0,
        })
    }

    fn bytes(&self) -> usize {
        let accumulators = self.accumulators.iter().map(|one| one.size()).sum::<usize>();
        accumulators + self.values.as_ref().map_or(0, |values| values.size())
    }

    fn update(&mut self, part: &Part<'_>, indices: &mut Vec<usize>) -> Result<()> {
        match &mut self.values {
            Some(values) => {
                values.intern(part.groups, indices)?;
                self.len = values.len();
            }
            None => {
                indices.clear();
                indices.resize(part.rows, 0);
                self.len = 1;
            }
        }
        let columns = part.arguments.iter().zip(part.filters);
        for (accumulator, (arguments, filter)) in self.accumulators.iter_mut().zip(columns) {
            let filter = filter.as_ref().map(|filter| filter.as_boolean());
            accumulator.update_batch(arguments, indices, filter, self.len)?;
        }
        Ok(())
    }
}

/// The values of expressions over the rows of a batch.
fn evaluate(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let values = exprs.iter().map(|expr| {
        let value = expr.evaluate(batch)?;
        Ok(value.into_array(batch.num_rows())?)
    });
    values.collect()
}

/// Times in ticks of their type; `None` where one is NULL.
fn ticks(times: &ArrayRef) -> Result<Option<Int64Array>> {
    if times.null_count() > 0 {
        return Ok(None);
    }
    Ok(Some(cast(times, &DataType::Int64)?.as_primitive::<Int64Type>().clone()))
}
