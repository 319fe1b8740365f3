//! Panics of drivers as values.

use crate::task;

/// Runs `work`; a panic in it is returned as its message, and not printed: whoever runs a query
/// must not read of our threads.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let result = task::quietly(work);
    result.map_err(|payload| match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload
            .downcast::<&str>()
            .map_or_else(|_| "the driver reported it in a wait".into(), |text| text.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(caught(|| 5), Ok(5));
        let lost = "lost";
        assert_eq!(caught(|| panic!("device {lost}")), Err::<(), _>("device lost".into()));
        assert_eq!(caught(|| panic!("in words")), Err::<(), _>("in words".into()));
    }
}
