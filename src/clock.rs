//! The time of day, of which libraries below expect that it is not before 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

/// Errors: the system's clock is before 1970, as that of a machine without a battery may be.
pub fn check() -> Result<()> {
    checked(SystemTime::now())
}

fn checked(now: SystemTime) -> Result<()> {
    match now.duration_since(UNIX_EPOCH) {
        Ok(_) => Ok(()),
        Err(before) => {
            let days = before.duration().as_secs() / 86_400;
            let text = format!("the system's clock is {days} days before 1970: set it, and go on");
            Err(Error::user(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn clocks_before_1970_are_told() {
        assert!(check().is_ok() && checked(UNIX_EPOCH).is_ok());
        let before = UNIX_EPOCH - Duration::from_secs(3 * 86_400);
        let told = checked(before).unwrap_err().to_string();
        assert_eq!(told, "the system's clock is 3 days before 1970: set it, and go on");
    }
}
