//! Host or device for a plan that runs again and again: the side whose runs have been faster.
//!
//! Runs are compared by size, from one power of two of rows to the next. A side that is not known
//! at a size, or was the slower one, is tried now and then, as long as all tries together cost no
//! more than a share of the time spent; the first run on the device, which compiles kernels, counts
//! as `FIRST` at most. So the choice needs no model of the machine, and follows where it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::place::Side;

/// Tries may cost this part of the time spent.
const SHARE: u32 = 20;

/// A run on the CPU that takes less is not worth a try on the device: a submit and its answer take
/// a tenth of it.
const WORTH: Duration = Duration::from_millis(1);

/// What the first run on the device is taken to cost: it compiles kernels.
const FIRST: Duration = Duration::from_millis(200);

/// Runs of a size after which the slower side is tried again, at least and at most.
const FEW_RUNS: u64 = 8;
const MOST_RUNS: u64 = 1024;

/// How sides are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choosing {
    /// By what runs have taken.
    #[default]
    Measured,
    /// One after the other, to show that it makes no difference to results.
    Alternating,
}

impl std::str::FromStr for Choosing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "measured" => Ok(Self::Measured),
            "alternating" => Ok(Self::Alternating),
            _ => Err(format!("thalweg.auto = '{text}': measured or alternating is wanted")),
        }
    }
}

/// What the runs of a plan have taken, by size and side.
#[derive(Debug, Default)]
pub struct Measured {
    choosing: Choosing,
    sizes: BTreeMap<u32, Size>,
    /// Time of all runs.
    spent: Duration,
    /// What tries took beyond the better side.
    tried: Duration,
    /// The device has compiled its kernels.
    warm: bool,
    /// The device has failed.
    failed: bool,
    last: Option<(Side, String)>,
}

/// Runs with about the same number of rows.
#[derive(Debug, Default)]
struct Size {
    cpu: Rate,
    gpu: Rate,
    runs: u64,
    /// The slower side is tried again after so many runs.
    try_at: u64,
    /// The faster side when it was last asked.
    better: Option<Side>,
}

/// Nanoseconds a row.
#[derive(Debug, Default)]
struct Rate {
    ns: Option<f64>,
    runs: u32,
}

impl Rate {
    /// The least of the first runs, which still find their way; then a sliding mean in which one
    /// slow run (a window closes, the machine is busy) counts as twice the mean at most. What is
    /// better in a try is taken as it is.
    fn add(&mut self, ns: f64, tried: bool) {
        self.runs = self.runs.saturating_add(1);
        self.ns = Some(match self.ns {
            None => ns,
            Some(before) if self.runs <= 3 || tried && ns < before => before.min(ns),
            Some(before) => before + (ns.min(2.0 * before) - before) / 4.0,
        });
    }
}

impl Measured {
    pub fn new(choosing: Choosing) -> Self {
        Self { choosing, ..Self::default() }
    }

    /// The side for a run over so many rows.
    pub fn choose(&mut self, rows: usize) -> Side {
        let (side, reason) = match self.choosing {
            Choosing::Measured => self.faster(rows),
            Choosing::Alternating => {
                let side = match self.last {
                    Some((Side::Gpu, _)) => Side::Cpu,
                    _ => Side::Gpu,
                };
                (side, "one side after the other".to_string())
            }
        };
        self.last = Some((side, reason));
        side
    }

    /// The last choice and why.
    pub fn last(&self) -> (Side, String) {
        let none = || (Side::Cpu, "nothing has run yet".to_string());
        self.last.clone().unwrap_or_else(none)
    }

    fn faster(&mut self, rows: usize) -> (Side, String) {
        if self.failed {
            return (Side::Cpu, "the device has failed in this run".to_string());
        }
        let Self { sizes, spent, tried, warm, .. } = self;
        let affords = |cost: Duration| *tried + cost <= *spent / SHARE;
        let size = sizes.entry(class(rows)).or_default();
        let Some(cpu) = size.cpu.ns else {
            return (Side::Cpu, "no run of this size is measured yet".to_string());
        };
        let Some(gpu) = size.gpu.ns else {
            let run = time(cpu, rows);
            if run < WORTH {
                let ms = run.as_secs_f64() * 1e3;
                return (Side::Cpu, format!("a run of {ms:.2} ms is too short for a transfer"));
            }
            return match affords(if *warm { run } else { FIRST }) {
                true => (Side::Gpu, format!("tried: cpu {cpu:.1} ns a row")),
                false => (Side::Cpu, "the gpu is tried after more of such runs".to_string()),
            };
        };
        let rates = format!("cpu {cpu:.1}, gpu {gpu:.1} ns a row");
        let (better, other) =
            if gpu < cpu { (Side::Gpu, Side::Cpu) } else { (Side::Cpu, Side::Gpu) };
        if size.better.replace(better).is_some_and(|before| before != better) {
            size.try_at = size.runs + FEW_RUNS; // the other may have had bad luck
        }
        if size.runs < size.try_at || !affords(time((gpu - cpu).abs(), rows)) {
            return (better, format!("measured: {rates}"));
        }
        size.try_at = size.runs + size.runs.clamp(FEW_RUNS, MOST_RUNS);
        (other, format!("tried again: {rates}"))
    }

    /// Tells what a run has taken.
    pub fn ran(&mut self, side: Side, rows: usize, took: Duration) {
        self.spent += took;
        let size = self.sizes.entry(class(rows)).or_default();
        size.runs += 1;
        let (own, other) = match side {
            Side::Cpu => (&mut size.cpu, &size.gpu),
            Side::Gpu => (&mut size.gpu, &size.cpu),
        };
        let first = side == Side::Gpu && !std::mem::replace(&mut self.warm, true);
        let mut tried = false;
        if let Some(better) = other.ns.filter(|other| own.ns.is_none_or(|own| own > *other)) {
            let cost = took.saturating_sub(time(better, rows));
            self.tried += if first { cost.min(FIRST) } else { cost };
            tried = true;
        }
        if !first {
            own.add(took.as_nanos() as f64 / rows.max(1) as f64, tried);
        }
    }

    /// The device has failed: the host does it from now on.
    pub fn give_up(&mut self) {
        self.failed = true;
    }
}

/// Sizes that are compared with one another.
fn class(rows: usize) -> u32 {
    rows.max(1).ilog2()
}

fn time(ns_per_row: f64, rows: usize) -> Duration {
    Duration::from_nanos((ns_per_row * rows as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs so often with so many rows; a side takes nanoseconds a row and microseconds a run.
    /// Answers the runs on the GPU and the time of all.
    fn run(
        measured: &mut Measured,
        runs: usize,
        rows: usize,
        cpu: (u64, u64),
        gpu: (u64, u64),
    ) -> (usize, Duration) {
        let (mut on_gpu, mut all) = (0, Duration::ZERO);
        for _ in 0..runs {
            let side = measured.choose(rows);
            let compiled = measured.warm;
            let (row, run) = if side == Side::Gpu { gpu } else { cpu };
            let mut took = Duration::from_nanos(row * rows as u64 + run * 1000);
            if side == Side::Gpu {
                on_gpu += 1;
                took += if compiled { Duration::ZERO } else { FIRST };
            }
            measured.ran(side, rows, took);
            all += took;
        }
        (on_gpu, all)
    }

    #[test]
    fn the_faster_side_is_found_and_the_other_costs_a_share() {
        let mut measured = Measured::default();
        let (on_gpu, took) = run(&mut measured, 5000, 1 << 16, (60, 0), (10, 300));
        assert!(on_gpu > 3500, "{on_gpu}");
        let first = Duration::from_nanos(60 << 16) * 1100; // until a try is paid for
        let best = Duration::from_nanos((10 << 16) + 300_000) * 5000;
        assert!(took < first + best + best / 10, "{took:?} {best:?}");

        let mut measured = Measured::default();
        let (on_gpu, took) = run(&mut measured, 5000, 1 << 16, (60, 0), (200, 3000));
        assert!((2..100).contains(&on_gpu), "{on_gpu}");
        let best = Duration::from_nanos(60 << 16) * 5000;
        assert!(took <= best + best / SHARE + FIRST, "{took:?} {best:?}");
    }

    #[test]
    fn it_follows_what_changes() {
        let mut measured = Measured::default();
        run(&mut measured, 5000, 1 << 16, (60, 0), (10, 0));
        assert_eq!(measured.last().0, Side::Gpu);
        // The device is busy with something else now.
        let (on_gpu, _) = run(&mut measured, 5000, 1 << 16, (60, 0), (500, 0));
        assert!(on_gpu < 500, "{on_gpu}");
        let (on_gpu, _) = run(&mut measured, 20_000, 1 << 16, (60, 0), (10, 0));
        assert!(on_gpu > 10_000, "{on_gpu}");
    }

    #[test]
    fn slow_runs_now_and_then_change_little() {
        let mut measured = Measured::default();
        let mut on_gpu = 0;
        for nth in 0..20_000_u64 {
            let side = measured.choose(1 << 16);
            on_gpu += usize::from(side == Side::Gpu);
            let row = if side == Side::Gpu { 200 } else { 60 };
            let slow = if nth % 50 == 0 { 20 } else { 1 };
            measured.ran(side, 1 << 16, Duration::from_nanos((row * slow) << 16));
        }
        assert!((2..400).contains(&on_gpu), "{on_gpu}");
    }

    #[test]
    fn a_device_that_has_failed_is_left() {
        let mut measured = Measured::default();
        run(&mut measured, 5000, 1 << 16, (60, 0), (10, 0));
        assert_eq!(measured.choose(1 << 16), Side::Gpu);
        measured.give_up();
        assert_eq!(run(&mut measured, 5000, 1 << 16, (60, 0), (10, 0)).0, 0);
    }

    #[test]
    fn short_runs_stay_on_the_host_and_sizes_are_apart() {
        let mut measured = Measured::default();
        let (on_gpu, _) = run(&mut measured, 100_000, 100, (60, 0), (1, 0));
        assert_eq!(on_gpu, 0);
        assert!(measured.last().1.contains("too short"), "{}", measured.last().1);
        // Long ones pay for tries; the device wins there only.
        run(&mut measured, 500, 1 << 20, (60, 0), (5, 4000));
        assert_eq!(measured.last().0, Side::Gpu);
        run(&mut measured, 500, 1 << 15, (60, 0), (5, 4000));
        assert_eq!(measured.last().0, Side::Cpu);
        assert_eq!(measured.choose(1 << 20), Side::Gpu);
    }

    #[test]
    fn sides_may_take_turns() {
        let mut measured = Measured::new("alternating".parse().unwrap());
        let sides: Vec<Side> = (0..4).map(|_| measured.choose(1)).collect();
        assert_eq!(sides, [Side::Gpu, Side::Cpu, Side::Gpu, Side::Cpu]);
        let wrong = "sometimes".parse::<Choosing>().unwrap_err();
        assert_eq!(wrong, "thalweg.auto = 'sometimes': measured or alternating is wanted");
    }
}
