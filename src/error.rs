//! Errors, sorted by who has to act: the user, the owner of the data, the device, or us.

use datafusion::error::DataFusionError;

/// Everything that can go wrong, by blame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong: SQL, an option, a path. Says what, where and what to do.
    #[error("{0}")]
    User(String),
    /// The data is wrong: names the file and the line, row or offset.
    #[error("{0}")]
    Data(String),
    /// The device refused, ran out or went away.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// We are wrong.
    #[error("{0} (this is a bug in thalweg: please report it)")]
    Bug(String),
    #[error(transparent)]
    DataFusion(#[from] DataFusionError),
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What a device can answer instead of a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("no GPU adapter: {0}")]
    NoAdapter(String),
    #[error("device memory: {what} of {bytes} bytes could not be allocated")]
    OutOfMemory { what: String, bytes: u64 },
    #[error("device lost: {0}")]
    Lost(String),
    /// A table in device memory is full or larger than one binding may be.
    #[error("device table: {0}")]
    TableFull(String),
    /// The driver or naga refused what we sent: ours to mend.
    #[error("device validation: {0}")]
    Validation(String),
    /// A row raised an error in a kernel (division by zero, overflow), as it does on the CPU.
    #[error("{0}")]
    Row(String),
}

impl DeviceError {
    /// True for the failures after which the fragment may be run again on the CPU
    /// (out of memory, device loss, full tables); all others are final.
    pub fn may_rerun_on_cpu(&self) -> bool {
        matches!(self, Self::OutOfMemory { .. } | Self::Lost(_) | Self::TableFull(_))
    }
}

/// Why a node or an expression does not run on the device. A value, not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declined(pub String);

impl Declined {
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::DataFusion(inner) => inner,
            Error::Arrow(inner) => DataFusionError::ArrowError(Box::new(inner), None),
            other => DataFusionError::External(Box::new(other)),
        }
    }
}

impl From<DeviceError> for DataFusionError {
    fn from(error: DeviceError) -> Self {
        Error::Device(error).into()
    }
}
