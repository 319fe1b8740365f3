//! What the operating system says below the layers that an error came through.

use std::io;

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

#[cfg(test)]
mod tests {
    use datafusion::error::DataFusionError;

    use super::*;

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
