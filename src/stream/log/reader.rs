//! One partition of a stream while a pipeline reads it: a thread parses ahead, as far as a bounded
//! queue lets it; what is taken out gets its watermark here, in order.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use tokio::sync::Notify;

use super::definition::Stream;
use super::partition::{LogRows, Stamper};
use super::position::Start;
use crate::error::{Error, Result};
use crate::stream::checkpoint::journal::Span;
use crate::stream::connector::api::{Opening, Read, Rows, Segment, Source};
use crate::stream::time::watermark::Forced;
use crate::task;

/// Records that are asked of a source at once.
const READ_RECORDS: usize = 8192;

/// Chunks that wait to be taken, at most.
const AHEAD: usize = 8;

/// How long a reader that has nothing waits before it looks again: the longer, the longer nothing
/// has come.
const IDLE: Duration = Duration::from_millis(10);
const FIRST_IDLE: Duration = Duration::from_millis(1);

/// How long readers of what is received may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a reader hands on.
enum Chunk {
    Rows {
        rows: Rows,
        /// Offset of the next record behind them.
        to: i64,
        segments: Vec<Segment>,
        rejected: u64,
    },
    End,
}

/// How partitions are read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Wait for more where the log ends.
    pub follow: bool,
    /// Records of a chunk at most.
    pub limit: usize,
    /// The stream's folder in the state folder.
    pub state: Option<std::path::PathBuf>,
    /// Told whenever there is something to take.
    pub ready: Arc<Notify>,
}

/// What was read at once.
pub struct Taken {
    pub rows: LogRows,
    /// How many records of the log it is, malformed ones included.
    pub records: usize,
}

/// A partition that is being read.
pub struct Feed {
    pub stream: Arc<Stream>,
    pub partition: usize,
    stamper: Stamper,
    chunks: task::Feed<Chunk>,
    /// What the running epoch has of it.
    span: Span,
    /// Whether where it begins is still to be recorded.
    begins: bool,
    pub ended: bool,
    pub rejected: u64,
    /// When rows came last.
    pub active: Instant,
}

/// Ends feeds. Senders whose rows are being received are answered before; what they have sent is
/// in the log, and is read by the next run.
pub async fn close(feeds: Vec<Feed>) {
    let (received, others): (Vec<_>, Vec<_>) =
        feeds.into_iter().partition(|feed| feed.stream.connector.received());
    drop(others);
    futures::future::join_all(received.into_iter().map(|feed| feed.chunks.close(PATIENCE))).await;
}

impl Feed {
    /// Opens a partition and begins to read it.
    pub fn open(
        stream: &Arc<Stream>,
        partition: usize,
        start: Start,
        reading: &Reading,
    ) -> Result<Self> {
        let opening = Opening {
            partition,
            from: start.place.clone(),
            state: reading.state.clone(),
            ..Opening::new(stream, reading.follow)
        };
        let source = stream.connector.open(opening)?;
        let from = source.offset();
        let reader = Reader {
            source,
            stream: stream.clone(),
            ready: Ready(reading.ready.clone()),
            limit: reading.limit.clamp(1, READ_RECORDS),
            pace: stream.pace.map(Pace::new),
        };
        let chunks =
            task::Feed::blocking("reading a stream", AHEAD, move |sender| reader.run(sender));
        let stamper = Stamper::new(stream, partition, start);
        let span = Span::at(partition, from, stamper.clock.clone());
        let (stream, active) = (stream.clone(), Instant::now());
        Ok(Self {
            stream,
            partition,
            stamper,
            chunks,
            span,
            begins: false,
            ended: false,
            rejected: 0,
            active,
        })
    }

    /// What has been read next; `None` while there is nothing.
    pub fn take(&mut self) -> Result<Option<Taken>> {
        let chunk = match self.chunks.try_next() {
            Poll::Ready(Some(chunk)) => chunk?,
            Poll::Pending => return Ok(None),
            Poll::Ready(None) if self.ended => return Ok(None),
            Poll::Ready(None) => {
                return Err(Error::Bug(format!("the reader of {} is gone", self.stream.name)));
            }
        };
        let Chunk::Rows { rows, to, segments, rejected } = chunk else {
            self.ended = true;
            return Ok(None);
        };
        let rows = self.stamper.stamp(rows);
        let records = usize::try_from(to - self.span.to).unwrap_or(0);
        self.span.to = to;
        segments.into_iter().for_each(|segment| segment.tell(&mut self.span.segments));
        self.rejected = rejected;
        self.active = Instant::now();
        Ok(Some(Taken { rows, records }))
    }

    /// Records segments that lie before the first row which is read.
    pub fn adopt(&mut self, segments: Vec<Segment>) {
        self.span.segments = segments;
        self.begins = self.span.from > 0;
    }

    /// Lets the watermark go to a time, from the next row on.
    pub fn force(&mut self, to_us: i64) {
        self.stamper.clock.force(to_us);
        self.span.forced.push(Forced { offset: self.span.to, to_us });
    }

    /// The watermark behind what was taken.
    pub fn watermark(&self) -> i64 {
        self.stamper.watermark()
    }

    /// Rows whose step ahead was bounded.
    pub fn bounded(&self) -> u64 {
        self.stamper.clock.bounded
    }

    /// Ends the epoch's part of this partition; `None` where it stood still.
    pub fn cut(&mut self) -> Option<Span> {
        let clock = self.stamper.clock.clone();
        let next = Span::at(self.partition, self.span.to, clock.clone());
        let span = Span { clock, ..std::mem::replace(&mut self.span, next) };
        let begins = std::mem::take(&mut self.begins);
        (begins || span.to > span.from || !span.forced.is_empty()).then_some(span)
    }
}

/// The thread that reads ahead.
struct Reader {
    source: Box<dyn Source>,
    stream: Arc<Stream>,
    ready: Ready,
    limit: usize,
    pace: Option<Pace>,
}

/// Wakes who waits for rows, also where the reader panics.
struct Ready(Arc<Notify>);

impl Drop for Ready {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Reader {
    /// Reads until the end, an error, or until nobody takes any more.
    fn run(mut self, sender: task::Feeder<Chunk>) -> Result<()> {
        let mut pause = FIRST_IDLE;
        loop {
            let limit = self.pace.as_ref().map_or(self.limit, |pace| pace.rows.min(self.limit));
            crate::fault::point("source");
            let chunk = match self.source.next(limit) {
                Ok(Read::Rows(rows)) => {
                    if !self.due(&rows, &sender) {
                        return Ok(());
                    }
                    pause = FIRST_IDLE;
                    let (to, segments) = (self.source.offset(), self.source.segments());
                    Ok(Chunk::Rows { rows, to, segments, rejected: self.source.rejected() })
                }
                Ok(Read::Idle) => {
                    if sender.is_closed() {
                        return Ok(());
                    }
                    std::thread::sleep(pause);
                    pause = IDLE.min(2 * pause);
                    continue;
                }
                Ok(Read::End) => Ok(Chunk::End),
                Err(error) => Err(error),
            };
            let last = !matches!(chunk, Ok(Chunk::Rows { .. }));
            let sent = sender.blocking_send(chunk);
            self.ready.0.notify_one();
            if last || sent.is_err() {
                return Ok(());
            }
        }
    }

    /// Waits until rows are due by the stream's pace; false when nobody waits for them any more.
    fn due(&mut self, rows: &Rows, sender: &task::Feeder<Chunk>) -> bool {
        let (Some(pace), Some(rule)) = (&mut self.pace, &self.stream.watermark) else {
            return true;
        };
        let times = rows.batch.column(rule.column).as_primitive::<TimestampMicrosecondType>();
        let Some(latest) = arrow::compute::max(times) else { return true };
        loop {
            let wait = pace.wait(latest);
            if wait.is_zero() {
                return true;
            }
            if sender.is_closed() {
                return false;
            }
            std::thread::sleep(wait.min(IDLE));
        }
    }
}

/// Holds rows back until they are due: so many seconds of event time in each second.
struct Pace {
    pace: f64,
    /// When the first row was, here and in event time (microseconds).
    begun: Option<(Instant, i64)>,
    /// Rows to read at once: fewer where one has to wait for them.
    rows: usize,
    /// The rows that were asked about last, and whether they had to wait.
    asked: Option<i64>,
}

impl Pace {
    fn new(pace: f64) -> Self {
        Self { pace, begun: None, rows: 1, asked: None }
    }

    /// How long rows up to this time still have to wait.
    fn wait(&mut self, latest_us: i64) -> Duration {
        let (begun, first) = *self.begun.get_or_insert((Instant::now(), latest_us));
        let since = latest_us.saturating_sub(first).max(0) as f64 / 1e6 / self.pace;
        let due = Duration::try_from_secs_f64(since).unwrap_or(Duration::MAX);
        let wait = due.saturating_sub(begun.elapsed());
        if self.asked.replace(latest_us) != Some(latest_us) {
            // Double while behind, halve while ahead.
            self.rows = if wait.is_zero() { self.rows * 2 } else { self.rows / 2 };
            self.rows = self.rows.clamp(1, READ_RECORDS);
        }
        wait
    }
}
