//! Messages of tokio, where a task's error is shared and so not of its own type any more.

/// Whether a message is that of a task that has panicked: `task 7 panicked with message "x"`.
pub fn of_panic(text: &str) -> bool {
    text.starts_with("task ") && text.contains(" panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_that_have_panicked_are_known() {
        let with = tokio::spawn(async {
            if true {
                panic!("planted")
            }
        })
        .await
        .unwrap_err();
        assert!(of_panic(&with.to_string()), "{with}");
        let without = async {
            if true {
                std::panic::panic_any(7)
            }
        };
        let without = tokio::spawn(without).await.unwrap_err();
        assert!(of_panic(&without.to_string()), "{without}");
        let aborted = tokio::spawn(std::future::pending::<()>());
        aborted.abort();
        let aborted = aborted.await.unwrap_err();
        assert!(!of_panic(&aborted.to_string()), "{aborted}");
    }
}
