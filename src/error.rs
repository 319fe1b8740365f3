//! Errors, sorted by who has to act: the user, the owner of the data, the device, or us.

use std::io;

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

/// What the system itself said, below the layers an error came through: a full disk, no right to
/// write.
fn of_system<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        found = io.filter(|io| io.raw_os_error().is_some()).or(found);
        // What an error of input and output holds is not its source, but stands in its place.
        next = match io.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    found
}

/// That the disk is full, where this is what an error came from.
pub fn full_disk(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let full = of_system(error).filter(|io| {
        matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    });
    full.map(|io| format!("the disk is full: {io}"))
}

/// The cause of an error in words; that the disk is full without the layers this came through.
pub fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    full_disk(error).unwrap_or_else(|| error.to_string())
}

/// Names that are told where one was not found, at most.
const NEAREST: usize = 3;

/// Names that are told where none is near, at most.
const SOME: usize = 8;

/// What to try for a name that was not found: `; did you mean 'a' or 'b'?`, or where none is near
/// some of those there are.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.dedup();
    let near = nearest(name, &known);
    if let Some((last, others)) = near.split_last() {
        let others = others.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let or = if others.is_empty() { "" } else { " or " };
        return format!("; did you mean {others}{or}{}?", quoted(last));
    }
    if known.is_empty() {
        return String::new();
    }
    let shown = known.iter().take(SOME).copied().collect::<Vec<_>>().join(", ");
    match known.len().saturating_sub(SOME) {
        0 => format!("; available: {shown}"),
        more => format!("; available: {shown} and {more} more"),
    }
}

fn quoted(name: &str) -> String {
    match name.starts_with('"') {
        true => name.to_string(),
        false => format!("'{name}'"),
    }
}

/// The names that a wrong one may have been, the nearest first: by letters, in any case.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Vec<&'a str> {
    let name = name.to_lowercase();
    let length = name.chars().count();
    let mut near: Vec<(usize, &str)> = Vec::new();
    for &other in known {
        let lower = other.trim_matches('"').to_lowercase();
        let distance = strsim::damerau_levenshtein(&name, &lower);
        let part = length >= 3 && (lower.contains(&name) || name.contains(&lower));
        if distance <= (length / 3).max(1) || (part && lower.len() >= 3) {
            near.push((distance, other));
        }
    }
    near.sort();
    near.dedup();
    near.into_iter().take(NEAREST).map(|(_, name)| name).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_first_and_few() {
        let known = ["l_orderkey", "l_partkey", "l_suppkey", "l_quantity", "Price", "\"Unit\""];
        assert_eq!(did_you_mean("l_oderkey", known), "; did you mean 'l_orderkey'?");
        assert_eq!(did_you_mean("unit", known), "; did you mean \"Unit\"?");
        assert_eq!(did_you_mean("key", known).matches("key").count(), 3);
        let far = "; available: l_orderkey, l_partkey, l_suppkey, l_quantity, Price, \"Unit\"";
        assert_eq!(did_you_mean("zzz", known), far);
        assert_eq!(did_you_mean("zzz", []), "");
        let many: Vec<String> = (0..20).map(|number| format!("column_{number}")).collect();
        let told = did_you_mean("zzz", many.iter().map(String::as_str));
        assert!(told.ends_with("column_7 and 12 more"), "{told}");
    }

    #[test]
    fn the_system_is_heard_below_the_layers() {
        let full = io::Error::from_raw_os_error(28);
        let store = object_store::Error::Generic { store: "LocalFileSystem", source: full.into() };
        let io = io::Error::other(store);
        let error = DataFusionError::External(Box::new(io)).context("while writing");
        assert_eq!(of_system(&error).and_then(io::Error::raw_os_error), Some(28));
        assert!(cause(&error).starts_with("the disk is full: "), "{}", cause(&error));
        let plain = DataFusionError::Plan("plain".into());
        assert!(of_system(&plain).is_none() && cause(&plain).contains("plain"));
    }
}
