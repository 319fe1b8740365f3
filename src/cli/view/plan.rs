//! A plan as a tree: where each part of it runs and why, and what it took.

use std::borrow::Cow;
use std::fmt;

use arrow::datatypes::Schema;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};

use super::text::{blanks, cut, width, wrapped};
use crate::sql::explain::{Explained, Ran};

/// Lines that the words of one node take on a screen.
const LINES: usize = 3;

/// Columns that the words of a node have at least, however deep it stands.
const LEAST: usize = 24;

/// Columns that are left of a list that is cut.
const LIST_LEAST: usize = 16;

/// What a node of a plan took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    pub rows: Option<u64>,
    pub nanoseconds: Option<u64>,
    pub bytes: Option<u64>,
}

/// A node of a plan in words.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub text: String,
    /// Lines below it that are never cut.
    pub details: Vec<String>,
    /// Where the plan has run.
    pub cost: Option<Cost>,
    pub children: Vec<Node>,
}

/// Whether a result is what DataFusion's own EXPLAIN answers: plans as text of many lines.
pub fn is_plan(schema: &Schema) -> bool {
    schema.fields().iter().map(|field| field.name().as_str()).eq(["plan_type", "plan"])
}

/// What EXPLAIN shows, in lines of so many columns where there is a limit.
pub fn explained(explained: &Explained, ran: Option<Ran>, columns: Option<usize>) -> String {
    let verbose = explained.verbose;
    let columns = columns.filter(|_| !verbose);
    let tree = draw(&node(explained.plan.as_ref(), verbose, ran.is_some()), columns);
    let mut text = match &explained.logical {
        Some(logical) => format!("Logical plan\n{logical}\n\nPhysical plan\n{tree}"),
        None => tree,
    };
    if let Some(Ran { rows, time }) = ran {
        let ending = if rows == 1 { "" } else { "s" };
        let seconds = time.as_secs_f64();
        text +=
            &format!("{rows} row{ending} in {seconds:.3} s; times are summed over all threads\n");
    }
    text
}

/// A plan in words.
fn node(plan: &dyn ExecutionPlan, verbose: bool, ran: bool) -> Node {
    let form = if verbose { DisplayFormatType::Verbose } else { DisplayFormatType::Default };
    let text = InWords(plan, form).to_string();
    let mut lines = text.trim_end().lines().map(str::to_string);
    let text = lines.next().unwrap_or_default();
    let mut details: Vec<String> = lines.collect();
    let metrics = plan.metrics().filter(|_| ran);
    if let Some(metrics) = metrics.clone().filter(|_| verbose) {
        let metrics = metrics.aggregate_by_name().sorted_for_display().timestamps_removed();
        details.push(format!("metrics=[{metrics}]"));
    }
    let cost = ran.then(|| metrics.map(|metrics| cost(&metrics)).unwrap_or_default());
    let children = plan.children().into_iter();
    let children = children.map(|child| node(child.as_ref(), verbose, ran)).collect();
    Node { text, details, cost, children }
}

struct InWords<'a>(&'a dyn ExecutionPlan, DisplayFormatType);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as(self.1, f)
    }
}

/// Rows, time and bytes of a node by what it has measured.
fn cost(metrics: &MetricsSet) -> Cost {
    let sum = |name: &str| {
        let sum = metrics.sum(|metric| metric.value().name() == name);
        sum.map(|value| value.as_usize() as u64)
    };
    let all = |names: &[&str]| names.iter().filter_map(|name| sum(name)).reduce(|a, b| a + b);
    // On the device: ours. In a scan: decoding, of which its own clock sees nothing.
    let times = ["encode_time", "upload_time", "kernel_time", "download_time"];
    let computed = metrics.elapsed_compute().map(|time| time as u64);
    let scanned = sum("time_elapsed_processing").max(computed);
    let moved = sum("repartition_time");
    let bytes = all(&["bytes_up", "bytes_down"]);
    Cost {
        rows: metrics.output_rows().map(|rows| rows as u64),
        nanoseconds: all(&times).or(scanned).max(moved),
        bytes: bytes.or(sum("bytes_scanned")).or(sum("output_bytes")),
    }
}

/// Draws a plan in lines of so many columns where there is a limit; what its nodes took stands at
/// the left.
pub fn draw(root: &Node, columns: Option<usize>) -> String {
    let mut placed = Vec::new();
    place(root, String::new(), String::new(), &mut placed);
    let costs = costs(&placed);
    let left = costs.first().map_or(0, |line| width(line));
    let mut out = String::new();
    if let Some(head) = costs.first().filter(|head| !head.is_empty()) {
        out += &format!("{head}plan\n");
    }
    for (place, cost) in placed.iter().zip(costs.iter().skip(1)) {
        let more = if place.node.children.is_empty() { "  " } else { "│ " };
        let below = format!("{}{}{more}  ", " ".repeat(left), place.below);
        let text = match columns {
            Some(columns) => {
                let room = columns.saturating_sub(width(&below)).max(LEAST);
                // The first line has more room; where it ends does not matter.
                let text = shortened(&place.node.text, room * LINES - LINES * LINES);
                wrapped(&text, room).join(&format!("\n{below}"))
            }
            None => place.node.text.clone(),
        };
        out += &format!("{cost}{}{text}\n", place.first);
        for line in &place.node.details {
            out += &format!("{below}{line}\n");
        }
    }
    out
}

/// A node with what stands before its first line, and before those below it.
struct Place<'a> {
    node: &'a Node,
    first: String,
    below: String,
}

fn place<'a>(node: &'a Node, first: String, below: String, out: &mut Vec<Place<'a>>) {
    out.push(Place { node, first, below: below.clone() });
    for (number, child) in node.children.iter().enumerate() {
        let (branch, line) = match number + 1 == node.children.len() {
            true => ("└ ", "  "),
            false => ("├ ", "│ "),
        };
        place(child, format!("{below}{branch}"), format!("{below}{line}"), out);
    }
}

/// The head of the columns at the left and what each node has in them; empty where nothing ran.
fn costs(placed: &[Place<'_>]) -> Vec<String> {
    let total: u64 = placed.iter().filter_map(|p| p.node.cost?.nanoseconds).sum();
    let of = |place: &Place<'_>| {
        let cost = place.node.cost?;
        let share = |time: u64| format!("{:.0} %", time as f64 * 100.0 / total.max(1) as f64);
        Some([
            cost.rows.map(|rows| rows.to_string()),
            cost.nanoseconds.map(time),
            cost.nanoseconds.map(share),
            cost.bytes.map(bytes),
        ])
    };
    let Some(lines) = placed.iter().map(of).collect::<Option<Vec<_>>>() else {
        return vec![String::new(); placed.len() + 1];
    };
    let head = ["rows", "time", "share", "bytes"].map(|name| Some(name.to_string()));
    let lines: Vec<_> = [head].into_iter().chain(lines).collect();
    let widest = |column: usize| {
        let texts = lines.iter().filter_map(|line| line[column].as_deref());
        texts.map(width).max().unwrap_or(0)
    };
    let widths = [0, 1, 2, 3].map(widest);
    let line = |line: &[Option<String>; 4]| {
        let cells = line.iter().zip(widths).map(|(text, room)| {
            let text = text.as_deref().unwrap_or_default();
            format!("{}{text}  ", blanks(text, room))
        });
        cells.collect::<String>()
    };
    lines.iter().map(line).collect()
}

/// A time in three digits or so.
fn time(nanoseconds: u64) -> String {
    match nanoseconds as f64 {
        time if time < 999_500.0 => format!("{:.0} µs", time / 1e3),
        time if time < 999_950_000.0 => format!("{:.1} ms", time / 1e6),
        time => format!("{:.2} s", time / 1e9),
    }
}

/// Bytes in three digits or so, by thousands.
fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return match unit == "B" || value >= 99.95 {
                true => format!("{value:.0} {unit}"),
                false => format!("{value:.1} {unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// A text in so many columns: the longest lists of it are cut before its end is.
fn shortened(text: &str, room: usize) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    while width(&text) > room {
        let Some((start, end)) = longest_list(&text) else { break };
        let list = &text[start..end];
        let over = width(&text) - room;
        let short = cut(list, width(list).saturating_sub(over).max(LIST_LEAST));
        text = Cow::Owned(format!("{}{short}{}", &text[..start], &text[end..]));
    }
    match text {
        Cow::Borrowed(text) => cut(text, room),
        Cow::Owned(text) => Cow::Owned(cut(&text, room).into_owned()),
    }
}

/// Where the longest list in brackets begins and ends, of those that can be cut.
fn longest_list(text: &str) -> Option<(usize, usize)> {
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut longest: Option<(usize, usize)> = None;
    for (at, character) in text.char_indices() {
        let opening = match character {
            '[' | '{' | '(' => {
                open.push((character, at + 1));
                continue;
            }
            ']' => '[',
            '}' => '{',
            ')' => '(',
            _ => continue,
        };
        // Brackets in a list that was cut are never closed.
        let Some(found) = open.iter().rposition(|(kind, _)| *kind == opening) else { continue };
        let (_, start) = open[found];
        open.truncate(found);
        let is_longer = longest.is_none_or(|(from, to)| at - start > to - from);
        if open.is_empty() && is_longer && width(&text[start..at]) > LIST_LEAST {
            longest = Some((start, at));
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_before_the_end() {
        let text = "Scan: files=[a/long/path/1.csv, a/long/path/2.csv], limit=5";
        assert_eq!(shortened(text, 50), "Scan: files=[a/long/path/1.csv, a/long/…], limit=5");
        assert_eq!(shortened(text, 30), "Scan: files=[a/long/path/1.c…");
        assert_eq!(shortened("short [list]", 80), "short [list]");
        assert_eq!(shortened("no list but long", 8), "no list…");
    }

    #[test]
    fn times_and_bytes_are_short() {
        assert_eq!([time(0), time(1_234_000), time(61_000_000_000)], ["0 µs", "1.2 ms", "61.00 s"]);
        let shown = [bytes(0), bytes(999), bytes(1_234), bytes(123_456_789), bytes(1 << 50)];
        assert_eq!(shown, ["0 B", "999 B", "1.2 kB", "123 MB", "1125.9 TB"]);
    }
}
