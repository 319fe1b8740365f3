//! Rows that are computed beside who reads them.

use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

use crate::error::Error;
use crate::task::Feed;

/// The same rows from a task of their own, which is so many batches ahead at most.
pub fn beside(
    what: &'static str,
    ahead: usize,
    mut rows: SendableRecordBatchStream,
) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let feed = Feed::spawn(what, ahead, |feeder| async move {
        while let Some(batch) = rows.next().await {
            let failed = batch.is_err();
            if feeder.send(batch.map_err(Error::from)).await.is_err() || failed {
                break;
            }
        }
        Ok(())
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, feed.map_err(DataFusionError::from)))
}
