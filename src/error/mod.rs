//! Errors, sorted by who has to act: the user, the owner of the data, the device, or us.
//!
//! `told` makes of any of them what a user is shown. What has to be read out of the messages of
//! other crates for that, for want of a type, is read in `foreign` and nowhere else; our own
//! messages are never read again.

pub mod foreign;
mod names;
pub mod store;
mod system;
mod told;
mod user;

use datafusion::error::DataFusionError;

pub use names::{did_you_mean, nearest};
pub use system::{cause, full_disk};
pub use user::{Missing, Place, UserError};

/// Everything that can go wrong, by blame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong: SQL, an option, a path. Says what, where and what to do.
    #[error(transparent)]
    User(Box<UserError>),
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

impl Error {
    /// An error of the request.
    pub fn user(message: impl Into<String>) -> Self {
        UserError::new(message).into()
    }

    /// The same error with its place in the SQL text, where it is the user's and has none yet.
    pub fn at(self, place: impl Into<Option<Place>>) -> Self {
        match self {
            Self::User(error) => error.at(place).into(),
            other => other,
        }
    }
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
    /// What a run holds on the host does not fit the memory of queries.
    #[error("{0}")]
    HostMemory(String),
    /// The driver or naga refused what we sent: ours to mend.
    #[error("device validation: {0}")]
    Validation(String),
    /// A row raised an error in a kernel (division by zero, overflow), as it does on the CPU.
    #[error("{0}")]
    Row(String),
}

impl DeviceError {
    /// True for the failures after which the fragment may be run again on the CPU
    /// (out of memory on either side, device loss, full tables); all others are final.
    pub fn may_rerun_on_cpu(&self) -> bool {
        match self {
            Self::OutOfMemory { .. } | Self::HostMemory(_) | Self::Lost(_) => true,
            Self::TableFull(_) => true,
            Self::NoAdapter(_) | Self::Validation(_) | Self::Row(_) => false,
        }
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

impl From<UserError> for Error {
    fn from(error: UserError) -> Self {
        Self::User(Box::new(error))
    }
}

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
