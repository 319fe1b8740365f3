//! What a pipeline's run tells: of each epoch while it goes on, and of all at its end.

use std::collections::BTreeSet;
use std::time::Instant;

use super::epoch::Epoch;
use super::state::{Runner, reads};
use super::totals::Totals;
use crate::plan::Side;
use crate::stream::checkpoint::journal::Span;
use crate::stream::dataflow::query::Done;
use crate::stream::log::reader::Feed;
use crate::stream::progress::{EventTimes, Progress, SourceProgress, time};

impl Runner {
    /// What is told of an epoch, by query, before it is in stores and sinks.
    pub(in crate::stream) fn progress(&mut self, number: u64, epoch: &Epoch) -> Vec<Progress> {
        if self.observer.is_none() {
            return Vec::new();
        }
        let since = std::mem::replace(&mut self.observed, Instant::now()).elapsed();
        let mut told = Vec::with_capacity(self.queries.len());
        for query in &self.queries {
            let feeds: Vec<&Feed> = self.feeds.iter().filter(|feed| reads(query, feed)).collect();
            let streams = query.graph.streams.iter();
            let rows = streams.filter_map(|stream| epoch.counts.get(&stream.name)).sum::<u64>();
            let record = self.journal.record(number);
            let sources = query.graph.streams.iter().map(|stream| {
                let feeds: Vec<&&Feed> =
                    feeds.iter().filter(|feed| feed.stream.name == stream.name).collect();
                let spans = record.and_then(|record| record.streams.get(&stream.name));
                let spans = spans.map(Vec::as_slice).unwrap_or_default();
                let by = |value: fn(&Span) -> i64| {
                    spans.iter().map(|span| (span.partition, value(span))).collect()
                };
                let shown = |feed: &&&Feed| Some((feed.partition, time(feed.watermark())?));
                SourceProgress {
                    description: stream.name.clone(),
                    start_offset: by(|span| span.from),
                    end_offset: by(|span| span.to),
                    watermark: feeds.iter().filter_map(shown).collect(),
                    rejected_rows: feeds.iter().map(|feed| feed.rejected).sum(),
                    bounded_rows: feeds.iter().map(|feed| feed.bounded()).sum(),
                    store_version: None,
                }
            });
            let sources = sources.collect();
            let timed = feeds.iter().filter(|feed| feed.stream.watermark.is_some());
            let least = timed.min_by_key(|feed| feed.watermark());
            told.push(query.progress(Done {
                epoch: number,
                run: &self.run,
                time_us: epoch.time_us,
                rows,
                since,
                steps: epoch.steps,
                event_time: EventTimes {
                    watermark: least.and_then(|feed| time(feed.watermark())),
                    held_back_by: least.map(|f| format!("{}/{}", f.stream.name, f.partition)),
                },
                sources,
            }));
        }
        told
    }

    /// Tells, at the end, what was left out.
    pub(in crate::stream) fn report(&mut self) {
        for stream in self.streams.values() {
            let of = || self.feeds.iter().filter(|feed| feed.stream.name == stream.name);
            let rejected = of().map(|feed| feed.rejected).sum();
            self.totals.rejected += rejected;
            crate::stream::log::definition::report(stream, rejected, of().map(Feed::bounded).sum());
        }
        for query in &mut self.queries {
            let late = std::mem::take(&mut query.graph.late);
            if late > 0 {
                let names: Vec<_> = query.graph.streams.iter().map(|s| s.name.as_str()).collect();
                let (names, name) = (names.join(", "), &query.name);
                let what = "rows came after their window was over and are not in the result (a row \
                            counts once for each window)";
                tracing::warn!("stream {names}, sink {name}: {late} {what}");
            }
        }
    }
}

impl Runner {
    /// What this run has done so far.
    pub fn totals(&self) -> Totals {
        let decisions = self.queries.iter().flat_map(|query| query.graph.decisions());
        let mut sides: BTreeSet<_> = decisions.map(|decision| decision.side.to_string()).collect();
        // Where nothing had to be decided.
        if sides.is_empty() && !self.queries.is_empty() {
            sides.insert(Side::Cpu.to_string());
        }
        Totals {
            results: self.queries.iter().map(|query| query.given).sum(),
            sides,
            ..self.totals.clone()
        }
    }
}
