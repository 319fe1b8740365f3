//! The signal that ends a run.

use std::time::Duration;

use tokio::sync::watch;

/// How long rows that are being processed may take to come to an end after the signal.
const PATIENCE: Duration = Duration::from_millis(700);

/// Returns when told to stop, never where nobody can tell it any more.
pub async fn told(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// Returns when told to stop, and what was begun has had its time.
pub async fn long_ago(stop: &mut watch::Receiver<bool>) {
    told(stop).await;
    tokio::time::sleep(PATIENCE).await;
}
