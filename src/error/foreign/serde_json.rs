//! Messages of serde_json, which end in the place that the error has as numbers, too.

/// Why text is no JSON, without the place.
pub fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let mark = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&mark).unwrap_or(&text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_without_the_place() {
        for (text, wanted) in [
            ("{\"a\":\nx}", "expected value"),
            ("{\"a\":", "EOF while parsing a value"),
            ("{\"a\" 1}", "expected `:`"),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(text).unwrap_err();
            assert!(error.to_string().contains(" at line "), "{error}");
            assert_eq!(reason(&error), wanted);
        }
    }
}
