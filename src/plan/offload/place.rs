//! Host or device? A pure function of the fragment's facts, the adapter and what the user asked.

use std::fmt;

use crate::config::DeviceChoice;
use crate::device::{AdapterKind, Capabilities};

/// Where a fragment runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Cpu,
    Gpu,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Cpu => "cpu",
            Side::Gpu => "gpu",
        })
    }
}

/// What was decided about a node, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub node: String,
    pub side: Side,
    pub reason: String,
}

/// What placement knows of a fragment when the query is planned.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// Rows of all sources; `None` where no statistics tell.
    pub rows: Option<u64>,
    /// Bytes that a row takes on the link.
    pub row_bytes: u64,
    pub joins: usize,
    pub aggregates: bool,
}

/// Rows under which a submit and its answer cost more than any CPU path: at some hundred
/// microseconds a submit, a CPU core has filtered and summed a hundred thousand rows.
pub const ROWS_MIN: u64 = 100_000;

/// Link rate taken where none was measured, bytes per second: PCIe 3.0 x16 as it is in practice.
pub const LINK_DEFAULT: f64 = 10e9;

/// Decides for a fragment that can run on the device. `link` is the measured upload rate in bytes
/// per second, `threads` the CPU threads a query may use.
pub fn decide(
    choice: DeviceChoice,
    adapter: Result<&Capabilities, &str>,
    facts: &Facts,
    link: Option<f64>,
    threads: usize,
) -> (Side, String) {
    let adapter = match adapter {
        Ok(adapter) => adapter,
        Err(reason) => return (Side::Cpu, reason.to_string()),
    };
    if choice == DeviceChoice::Gpu {
        return (Side::Gpu, "asked for".into());
    }
    if adapter.kind == AdapterKind::Software {
        return (Side::Cpu, format!("the only adapter is software ({})", adapter.name));
    }
    let Some(rows) = facts.rows else {
        return (Side::Cpu, "the number of rows is not known".into());
    };
    if rows < ROWS_MIN {
        return (Side::Cpu, format!("{rows} rows are too few for a transfer"));
    }
    // Decoding is the same on both sides and left out. A core folds or filters some 5 ns a row and
    // probes a join in some 20 ns; the device hides its work behind the link.
    let per_row = 5.0 + if facts.aggregates { 5.0 } else { 0.0 } + 20.0 * facts.joins as f64;
    let cpu_ms = rows as f64 * per_row / threads.max(1) as f64 / 1e6;
    let rate = link.unwrap_or(LINK_DEFAULT);
    let gpu_ms = 2.0 + (rows * facts.row_bytes) as f64 / rate * 1e3;
    let text = format!("cpu {cpu_ms:.1} ms, gpu {gpu_ms:.1} ms expected for {rows} rows");
    if gpu_ms < cpu_ms { (Side::Gpu, text) } else { (Side::Cpu, text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{FloatExactness, Tier};

    fn adapter(kind: AdapterKind) -> Capabilities {
        Capabilities {
            name: "test".into(),
            backend: "vulkan".into(),
            driver: String::new(),
            kind,
            tier: Tier::T4,
            max_binding_bytes: 1 << 30,
            max_buffer_bytes: 1 << 30,
            max_bindings: 32,
            max_workgroup_bytes: 32 << 10,
            memory_bytes: None,
            floats: FloatExactness::default(),
        }
    }

    #[test]
    fn auto_never_takes_a_software_adapter() {
        let facts = Facts { rows: Some(1 << 40), row_bytes: 1, joins: 3, aggregates: true };
        let soft = adapter(AdapterKind::Software);
        assert_eq!(decide(DeviceChoice::Auto, Ok(&soft), &facts, None, 1).0, Side::Cpu);
        assert_eq!(decide(DeviceChoice::Gpu, Ok(&soft), &facts, None, 1).0, Side::Gpu);
    }

    #[test]
    fn auto_weighs_the_link_against_the_cores() {
        let facts = Facts { rows: Some(10_000_000), row_bytes: 16, joins: 1, aggregates: true };
        let gpu = adapter(AdapterKind::Discrete);
        let side = |link, threads| decide(DeviceChoice::Auto, Ok(&gpu), &facts, link, threads).0;
        assert_eq!(side(Some(20e9), 2), Side::Gpu);
        assert_eq!(side(Some(1e9), 16), Side::Cpu);
        let few = Facts { rows: Some(1000), ..facts };
        assert_eq!(decide(DeviceChoice::Auto, Ok(&gpu), &few, None, 1).0, Side::Cpu);
    }
}
