//! How a run that only looks at its streams begins: what their stores hold is given to the queries
//! as one epoch, and reading goes on behind it. A store is read as any reader does, whoever fills
//! it, and stays as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use super::state::Runner;
use crate::error::{Error, Result};
use crate::stream::checkpoint::journal::Span;
use crate::stream::checkpoint::recover::{begin, repeat, stored_spans};
use crate::stream::dataflow::query::Query;
use crate::stream::log::definition::{Begin, Stream};
use crate::stream::log::history_scan;
use crate::stream::log::partition::PARTITION;
use crate::stream::time::clock::now_us;

/// Adds streams and queries to a run in an empty state folder, and gives the history out.
pub async fn join(
    runner: &mut Runner,
    streams: Vec<Arc<Stream>>,
    mut queries: Vec<Query>,
) -> Result<()> {
    let (mut rows, mut spans) = (BTreeMap::new(), BTreeMap::new());
    for stream in streams {
        if let Some((stored, behind)) = history(runner, &stream).await? {
            rows.insert(stream.name.clone(), stored);
            spans.insert(stream.name.clone(), behind);
        }
        runner.streams.insert(stream.name.clone(), stream);
    }
    if !spans.is_empty() {
        let mut tables = BTreeMap::new();
        for query in &queries {
            tables.extend(query.graph.newest().await?);
        }
        let epoch = runner.journal.append_next(now_us(), spans, tables)?;
        repeat(runner, &mut queries, epoch, &rows).await?;
        runner.memory.forget();
    }
    runner.queries.extend(queries);
    Ok(())
}

/// The stored rows from where the stream is to begin, and what of its log lies before those that
/// are read; `None` where nothing is stored.
async fn history(
    runner: &Runner,
    stream: &Arc<Stream>,
) -> Result<Option<(Vec<RecordBatch>, Vec<Span>)>> {
    let history = history_scan::history(stream, &runner.context.state()).await?;
    let Some(history) = history.filter(|h| h.rest.iter().any(|start| start.place.offset > 0))
    else {
        return Ok(None);
    };
    let mut rest = history.rest.clone();
    let from_us = match stream.begin {
        Begin::Earliest => {
            let rows = history.rows(&runner.context, stream).await?;
            return Ok(Some((rows, stored_spans(rest))));
        }
        Begin::Latest => None,
        Begin::At(from_us) => Some(from_us),
    };
    let mut begun = vec![false; rest.len()];
    let mut rows = Vec::new();
    if let Some(from_us) = from_us {
        for batch in history.rows(&runner.context, stream).await? {
            rows.push(behind(stream, &batch, from_us, &mut begun)?);
        }
    }
    for (partition, start) in rest.iter_mut().enumerate().filter(|(at, _)| !begun[*at]) {
        *start = begin(stream, partition, start.clone()).await?;
    }
    Ok(Some((rows, stored_spans(rest))))
}

/// Rows from each partition's first on that is not before a time.
fn behind(
    stream: &Stream,
    rows: &RecordBatch,
    from_us: i64,
    begun: &mut [bool],
) -> Result<RecordBatch> {
    let (Some(rule), Some(partitions)) = (&stream.watermark, rows.column_by_name(PARTITION)) else {
        return Err(Error::Bug(format!("stream {} has no event time", stream.name)));
    };
    let times = rows.column(rule.column).as_primitive::<TimestampMicrosecondType>().values();
    let partitions = partitions.as_primitive::<Int32Type>().values();
    let wanted = partitions.iter().zip(times).map(|(partition, time)| {
        let begun = usize::try_from(*partition).ok().and_then(|at| begun.get_mut(at));
        begun.is_some_and(|begun| {
            *begun |= *time >= from_us;
            *begun
        })
    });
    let wanted: BooleanArray = wanted.map(Some).collect();
    Ok(filter_record_batch(rows, &wanted)?)
}
