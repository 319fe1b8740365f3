//! What a run holds on the host, of the memory that all queries may take: the strings it has met,
//! what functions gave for them, and the rows of build sides. Slots and what comes of them are few
//! and of bounded size.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryPool, MemoryReservation, UnboundedMemoryPool,
};
use parking_lot::Mutex;

use crate::error::{DeviceError, Result};

/// A run's part of the memory of queries. It is given back when the run is dropped.
#[derive(Debug)]
pub struct HostMemory {
    /// Rows of build sides.
    rows: MemoryReservation,
    /// Strings, and lookup tables over them: as many bytes as they take now.
    strings: Mutex<MemoryReservation>,
}

impl Default for HostMemory {
    fn default() -> Self {
        Self::of(&(Arc::new(UnboundedMemoryPool::default()) as Arc<dyn MemoryPool>))
    }
}

impl HostMemory {
    /// A part that is taken of a pool as it is needed.
    pub fn of(pool: &Arc<dyn MemoryPool>) -> Self {
        let taken = |what: &str| MemoryConsumer::new(what).register(pool);
        Self {
            rows: taken("rows of a join that the device does"),
            strings: Mutex::new(taken("strings of a query on the device")),
        }
    }

    /// Takes what the rows of a batch need.
    ///
    /// Errors: the pool has not so much left; the host may do without the device what it can spill.
    pub(super) fn keep(&self, batch: &RecordBatch) -> Result<()> {
        Ok(self.rows.try_grow(bytes(batch)?).map_err(refused)?)
    }

    /// One batch of many, which `keep` has taken memory for.
    ///
    /// Errors: the pool has not left what both take for a moment.
    pub(super) fn coalesce(
        &self,
        batches: &[RecordBatch],
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        if let [one] = batches {
            return Ok(one.clone());
        }
        let copied = batches.iter().map(bytes).sum::<std::result::Result<usize, _>>()?;
        self.rows.try_grow(copied).map_err(refused)?;
        let whole = concat_batches(schema, batches);
        self.rows.shrink(copied);
        Ok(whole?)
    }

    /// Says how many bytes strings take now.
    ///
    /// Errors: the pool has not so much left.
    pub(super) fn strings_take(&self, bytes: usize) -> Result<()> {
        Ok(self.strings.lock().try_resize(bytes).map_err(refused)?)
    }
}

/// Bytes of a batch's own rows; what it is a slice of is not its own, nor are the values of
/// dictionaries, which other batches share.
pub fn bytes(batch: &RecordBatch) -> std::result::Result<usize, DataFusionError> {
    batch.columns().iter().try_fold(0, |sum: usize, column| {
        let texts = match column.data_type() {
            DataType::Utf8View => column.as_string_view().total_buffer_bytes_used(),
            DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used(),
            DataType::Dictionary(..) => {
                let keys = column.as_any_dictionary().keys().to_data();
                return Ok(sum.saturating_add(keys.get_slice_memory_size()?));
            }
            _ => 0,
        };
        Ok(sum.saturating_add(column.to_data().get_slice_memory_size()?).saturating_add(texts))
    })
}

fn refused(error: DataFusionError) -> DeviceError {
    match error {
        DataFusionError::ResourcesExhausted(text) => DeviceError::HostMemory(text),
        other => DeviceError::HostMemory(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringViewArray};
    use arrow::datatypes::Int32Type;
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;
    use crate::error::Error;

    #[test]
    fn rows_count_with_their_strings_and_without_what_they_share() {
        let texts =
            StringViewArray::from(vec!["short", "longer than a view holds", "as long as that"]);
        let keyed: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
        let columns: [(&str, ArrayRef); 2] =
            [("texts", Arc::new(texts)), ("keyed", Arc::new(keyed))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        assert_eq!(bytes(&batch).unwrap(), 3 * 16 + 24 + 15 + 3 * 4);
        assert_eq!(bytes(&batch.slice(0, 1)).unwrap(), 16 + 4);
    }

    #[test]
    fn what_is_held_is_taken_of_the_pool_and_given_back() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(2000));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let held = HostMemory::of(&pool);
        held.keep(&batch.slice(0, 50)).unwrap();
        held.keep(&batch.slice(50, 50)).unwrap();
        assert_eq!(pool.reserved(), 800);
        let parts = [batch.slice(0, 50), batch.slice(50, 50)];
        assert_eq!(held.coalesce(&parts, &batch.schema()).unwrap(), batch);
        held.strings_take(300).unwrap();
        held.strings_take(200).unwrap();
        assert_eq!(pool.reserved(), 1000);
        held.keep(&batch).unwrap();
        let doubled = held.coalesce(&[batch.clone(), batch.clone()], &batch.schema());
        for refused in [held.strings_take(900), held.keep(&batch), doubled.map(|_| ())] {
            let Err(Error::Device(error)) = refused else { panic!("{refused:?}") };
            assert!(error.may_rerun_on_cpu(), "{error}");
        }
        drop(held);
        assert_eq!(pool.reserved(), 0);
    }
}
