//! Options and limits: each with its unit and its reason.

/// Rows in one workgroup's tile; also the number of invocations in a workgroup.
pub const WORKGROUP: u32 = 256;

/// Which side a query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The model decides, fragment by fragment; never a software adapter.
    #[default]
    Auto,
    /// Everything that can run on the device does.
    Gpu,
    /// No adapter is opened.
    Cpu,
}

impl std::str::FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "gpu" => Ok(Self::Gpu),
            "cpu" => Ok(Self::Cpu),
            _ => Err(format!("unknown device '{text}': auto, gpu or cpu")),
        }
    }
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
        })
    }
}

/// What a session is opened with; the SQL options `thalweg.*` start from it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub device: DeviceChoice,
    /// With `device = gpu`: what cannot run on the device is an error.
    pub strict: bool,
    /// Part of the adapter's name, where several are present.
    pub adapter: Option<String>,
    /// Bytes that queries hold in memory at most; by default three quarters of the machine's.
    pub memory: Option<usize>,
    /// Where to write the Perfetto trace of the run.
    pub trace: Option<std::path::PathBuf>,
}
