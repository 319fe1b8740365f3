//! Spans of a run, host and device, written as JSON for <https://ui.perfetto.dev> (Chrome's trace
//! event format), so that overlap can be seen and asserted.
//!
//! Costs one atomic load per span until `enable` is called. Spans stand on tracks by what they do,
//! not by thread: work in an async runtime changes threads, and what a reader looks for is whether
//! `encode` ran while `kernel` did. Where spans of one kind overlap, they take as many tracks.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

/// Spans kept; more are counted, not kept. A span is about 100 bytes here, 150 in the file.
const MAX_SPANS: usize = 1_000_000;

/// What a span is about. The order is that of the tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Host: parsing, planning, placing.
    Plan,
    /// Host: reading and decoding one batch.
    Decode,
    /// Host: laying a batch out in staging memory.
    Encode,
    /// Host: making a pipeline from WGSL.
    Compile,
    /// Host: turning a recording into a command buffer and submitting it.
    Submit,
    /// Device: copies of one submit to the device.
    Upload,
    /// Device: dispatches, clears and copies of one submit.
    Kernel,
    /// Device: copies of one submit back.
    Download,
    /// Host: copying a submit's downloads out of mapped memory.
    Readback,
    /// Host: work of a CPU player's dispatch.
    Twin,
    /// Host: handing rows on.
    Emit,
}

impl Kind {
    /// The name of its track and category.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::Compile => "compile",
            Self::Submit => "submit",
            Self::Upload => "upload",
            Self::Kernel => "kernel",
            Self::Download => "download",
            Self::Readback => "readback",
            Self::Twin => "twin",
            Self::Emit => "emit",
        }
    }

    /// Whether the device does it, and told the time.
    pub fn is_on_device(self) -> bool {
        matches!(self, Self::Upload | Self::Kernel | Self::Download)
    }
}

/// Whether spans are kept; read before anything else is done.
static ENABLED: AtomicBool = AtomicBool::new(false);

/// The process's recorder and where its file goes.
static RECORDER: Mutex<Option<(Recorder, PathBuf)>> = Mutex::new(None);

/// Keeps all spans from now on, for `flush` to write to `path`.
pub fn enable(path: impl Into<PathBuf>) {
    *RECORDER.lock() = Some((Recorder::new(), path.into()));
    ENABLED.store(true, Ordering::Release);
}

/// Whether spans are kept.
pub fn is_enabled() -> bool {
    ENABLED.load(Ordering::Acquire)
}

/// Writes all spans so far; does nothing where tracing is not enabled. May be called again.
///
/// # Errors
/// Those of creating and writing the file.
pub fn flush() -> io::Result<()> {
    let recorder = RECORDER.lock();
    let Some((recorder, path)) = &*recorder else { return Ok(()) };
    let mut file = io::BufWriter::new(std::fs::File::create(path)?);
    recorder.write(&mut file)?;
    file.flush()
}

/// A span from now until the guard is dropped. It may cross threads and awaits.
pub fn span(kind: Kind, label: &str) -> Span {
    if !is_enabled() {
        return Span(None);
    }
    Span(Some((kind, label.to_string(), Instant::now())))
}

/// Ends its span when dropped.
#[must_use = "a span ends when its guard is dropped"]
#[derive(Debug)]
pub struct Span(Option<(Kind, String, Instant)>);

impl Drop for Span {
    fn drop(&mut self) {
        if let Some((kind, label, began)) = self.0.take() {
            complete(kind, label, began, began.elapsed());
        }
    }
}

/// A span that is over.
pub fn complete(kind: Kind, label: impl Into<String>, began: Instant, took: Duration) {
    if !is_enabled() {
        return;
    }
    if let Some((recorder, _)) = &mut *RECORDER.lock() {
        recorder.add(kind, label.into(), began, took);
    }
}

/// What the device told of one submit: how long each part took, in nanoseconds, and when the host
/// heard that it was done. The device's clock starts anywhere, so the parts are placed backwards
/// from there; they are late by what the news took, some ten microseconds.
pub fn submitted(label: &str, done: Instant, parts: [(Kind, u64); 3]) {
    if !is_enabled() {
        return;
    }
    let mut end = done;
    for (kind, ns) in parts.into_iter().rev().filter(|(_, ns)| *ns > 0) {
        let took = Duration::from_nanos(ns);
        let Some(began) = end.checked_sub(took) else { return };
        complete(kind, label, began, took);
        end = began;
    }
}

struct Kept {
    kind: Kind,
    label: String,
    began: Duration,
    took: Duration,
}

/// Spans since a start.
struct Recorder {
    start: Instant,
    spans: Vec<Kept>,
    dropped: u64,
}

impl Recorder {
    fn new() -> Self {
        Self { start: Instant::now(), spans: Vec::new(), dropped: 0 }
    }

    fn add(&mut self, kind: Kind, label: String, began: Instant, took: Duration) {
        if self.spans.len() == MAX_SPANS {
            self.dropped += 1;
            return;
        }
        let began = began.saturating_duration_since(self.start);
        self.spans.push(Kept { kind, label, began, took });
    }

    /// Writes the JSON, a span per line.
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut spans: Vec<&Kept> = self.spans.iter().collect();
        spans.sort_by_key(|span| (span.kind, span.began, span.took));
        let mut tracks = Tracks::default();
        let placed: Vec<_> = spans.into_iter().map(|span| tracks.place(span)).collect();
        write!(out, "{{\"displayTimeUnit\":\"ns\",\"otherData\":")?;
        write!(out, "{},", json!({ "dropped_spans": self.dropped }))?;
        writeln!(out, "\"traceEvents\":[")?;
        for event in tracks.names() {
            writeln!(out, "{event},")?;
        }
        for span in placed {
            writeln!(out, "{},", span.event())?;
        }
        // The format has no trailing comma: the last event is one that says nothing new.
        writeln!(out, "{}]}}", process_name(HOST, "host"))
    }
}

/// Process numbers: Perfetto groups tracks by them.
const HOST: u64 = 1;
const DEVICE: u64 = 2;

fn process(kind: Kind) -> u64 {
    if kind.is_on_device() { DEVICE } else { HOST }
}

/// A span on its track.
struct Placed<'a> {
    span: &'a Kept,
    track: u64,
    began: Duration,
}

impl Placed<'_> {
    fn event(&self) -> Value {
        json!({
            "ph": "X",
            "cat": self.span.kind.name(),
            "name": self.span.label,
            "pid": process(self.span.kind),
            "tid": self.track,
            "ts": microseconds(self.began),
            "dur": microseconds(self.span.took),
        })
    }
}

/// The format counts in microseconds; fractions are allowed.
fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

fn process_name(process: u64, name: &str) -> Value {
    json!({ "ph": "M", "name": "process_name", "pid": process, "args": { "name": name } })
}

/// Tracks, each with its kind and the end of its last span: spans of one track never overlap.
#[derive(Default)]
struct Tracks {
    used: Vec<(Kind, Duration)>,
}

impl Tracks {
    /// Finds the first track of the span's kind that is free at its start. Spans come by kind,
    /// then by start. The device does one submit after the other: where the news of the ends were
    /// late by different times, a span is moved behind the one before it.
    fn place<'a>(&mut self, span: &'a Kept) -> Placed<'a> {
        let on_device = span.kind.is_on_device();
        let free = self.used.iter().position(|(kind, last_end)| {
            *kind == span.kind && (on_device || *last_end <= span.began)
        });
        let track = free.unwrap_or_else(|| {
            self.used.push((span.kind, Duration::ZERO));
            self.used.len() - 1
        });
        let began = span.began.max(self.used[track].1);
        self.used[track].1 = began + span.took;
        Placed { span, track: track as u64, began }
    }

    fn names(&self) -> Vec<Value> {
        let mut events = vec![process_name(DEVICE, "device")];
        for (track, (kind, _)) in self.used.iter().enumerate() {
            for (what, args) in [
                ("thread_name", json!({ "name": kind.name() })),
                ("thread_sort_index", json!({ "sort_index": track })),
            ] {
                let process = process(*kind);
                events.push(json!({
                    "ph": "M", "name": what, "pid": process, "tid": track, "args": args,
                }));
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The events of a recorder, read back from its JSON.
    fn events(recorder: &Recorder) -> Vec<Value> {
        let mut text = Vec::new();
        recorder.write(&mut text).unwrap();
        let file: Value = serde_json::from_slice(&text).unwrap();
        file["traceEvents"].as_array().unwrap().clone()
    }

    fn spans(recorder: &Recorder) -> Vec<Value> {
        events(recorder).into_iter().filter(|event| event["ph"] == "X").collect()
    }

    #[test]
    fn what_overlaps_takes_tracks_of_its_own() {
        let mut recorder = Recorder::new();
        let start = recorder.start;
        recorder.add(Kind::Encode, "a".into(), start, 10 * MS);
        recorder.add(Kind::Encode, "b".into(), start + 5 * MS, 10 * MS);
        recorder.add(Kind::Encode, "c".into(), start + 10 * MS, MS);
        recorder.add(Kind::Emit, "d".into(), start, MS);
        let spans = spans(&recorder);
        let tracks: Vec<_> = spans.iter().map(|span| span["tid"].as_u64().unwrap()).collect();
        assert_eq!(tracks, [0, 1, 0, 2]);
        assert_eq!(spans[1]["ts"], 5000.0);
        assert_eq!(spans[1]["dur"], 10_000.0);
        assert_eq!(spans[1]["name"], "b");
        assert_eq!(spans[1]["cat"], "encode");
    }

    #[test]
    fn device_spans_queue_on_one_track() {
        let mut recorder = Recorder::new();
        let start = recorder.start;
        recorder.add(Kind::Kernel, "a".into(), start, 10 * MS);
        recorder.add(Kind::Kernel, "b".into(), start + 9 * MS, 10 * MS);
        let spans = spans(&recorder);
        assert_eq!(spans[1]["ts"], 10_000.0);
        assert_eq!((&spans[1]["tid"], &spans[1]["pid"]), (&spans[0]["tid"], &json!(DEVICE)));
    }

    #[test]
    fn an_empty_trace_is_valid_and_processes_have_names() {
        let names: Vec<_> = events(&Recorder::new())
            .iter()
            .map(|event| (event["pid"].clone(), event["args"]["name"].clone()))
            .collect();
        assert!(names.contains(&(json!(DEVICE), json!("device"))), "{names:?}");
        assert!(names.contains(&(json!(HOST), json!("host"))), "{names:?}");
    }

    /// The one test of the global recorder: others of this process may add to it.
    #[test]
    fn from_enable_to_file() {
        drop(span(Kind::Plan, "before"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        enable(&path);
        drop(span(Kind::Plan, "query \"one\""));
        submitted(
            "slot",
            Instant::now() + MS * 20,
            [(Kind::Upload, 1_000_000), (Kind::Kernel, 2_000_000), (Kind::Download, 0)],
        );
        flush().unwrap();
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let events = file["traceEvents"].as_array().unwrap();
        let find = |name: &str, kind: &str| {
            events.iter().find(|event| event["name"] == name && event["cat"] == kind)
        };
        assert!(find("query \"one\"", "plan").is_some());
        assert!(find("before", "plan").is_none());
        assert!(find("slot", "download").is_none());
        let (upload, kernel) = (find("slot", "upload").unwrap(), find("slot", "kernel").unwrap());
        let end = upload["ts"].as_f64().unwrap() + upload["dur"].as_f64().unwrap();
        assert!((end - kernel["ts"].as_f64().unwrap()).abs() < 0.01, "{upload} {kernel}");
    }
}
