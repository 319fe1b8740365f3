//! Ctrl-C: a query that follows a stream is asked to come to its end; everything else is dropped
//! where it stands, and so is what does not end when asked again.

use tokio::sync::watch;

/// Who is to be told.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Sender<bool>);

impl Default for Interrupt {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Interrupt {
    /// For one that ends by itself when this is true, as long as it holds it.
    pub fn follower(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    /// Whether a follower was told.
    pub fn told(&self) -> bool {
        *self.0.borrow()
    }

    /// Runs work; answers `None` where Ctrl-C ended it and no follower could be told.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> std::io::Result<Option<T>> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(Some(done)),
                signal = tokio::signal::ctrl_c() => {
                    signal?;
                    if self.0.receiver_count() == 0 || self.0.send_replace(true) {
                        return Ok(None);
                    }
                }
            }
        }
    }
}
