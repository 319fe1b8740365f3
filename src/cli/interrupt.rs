//! Ctrl-C: a query that follows a stream, and a pipeline that reads streams, are asked to come to
//! their end; everything else is dropped where it stands, and so is what does not end when asked
//! again. While a pager is shown, Ctrl-C is its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::failure::Outcome;
use super::output::pager;

/// Sees to it that signals are seen while all threads of the runtime compute, which is where they
/// are waited for, and ends the process at the second one: state on the disk is whole at any time.
///
/// `terminates`: SIGTERM is a signal to come to an end too, and does not end the process by itself.
///
/// Errors: the system gives no thread.
pub fn watch_signals(terminates: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watch = move || {
        runtime.block_on(async {
            let _ = signal(terminates).await;
            let _ = signal(terminates).await;
        });
        std::thread::sleep(PATIENCE);
        eprintln!("stopped at once");
        #[expect(clippy::disallowed_methods, reason = "who asks twice waits for nothing")]
        std::process::exit(INTERRUPTED);
    };
    std::thread::Builder::new().name("signals".to_string()).spawn(watch)?;
    Ok(())
}

/// The exit code of a process that a signal has ended.
const INTERRUPTED: i32 = 130;

/// How long what was asked twice may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// The next signal that asks for an end.
async fn signal(terminates: bool) -> std::io::Result<()> {
    loop {
        any_signal(terminates).await?;
        if !pager::is_open() {
            return Ok(());
        }
    }
}

async fn any_signal(terminates: bool) -> std::io::Result<()> {
    #[cfg(unix)]
    if terminates {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        return tokio::select! {
            told = tokio::signal::ctrl_c() => told,
            _ = terminate.recv() => Ok(()),
        };
    }
    tokio::signal::ctrl_c().await
}

/// A time that passes whatever the threads of the runtime do.
pub async fn passed(time: Duration) {
    let (send, receive) = oneshot::channel();
    let sleep = move || {
        std::thread::sleep(time);
        let _ = send.send(());
    };
    if std::thread::Builder::new().spawn(sleep).is_ok() {
        let _ = receive.await;
    }
}

/// Runs a pipeline, which comes to its end by itself on a signal while it reads streams. Answers
/// `None` where a signal finds it elsewhere, such as in planning or in a query over files, and it
/// does not end at once: that is dropped where it stands, as in other commands.
pub async fn unless_elsewhere<T>(
    work: impl Future<Output = T>,
    reading: &AtomicBool,
) -> std::io::Result<Option<T>> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(Some(done)),
            signal = signal(true) => signal?,
        }
        tokio::select! {
            done = &mut work => return Ok(Some(done)),
            () = passed(Duration::from_millis(300)) => {}
        }
        if !reading.load(Ordering::SeqCst) {
            return Ok(None);
        }
    }
}

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
                signal = signal(false) => {
                    signal?;
                    if self.0.receiver_count() == 0 || self.0.send_replace(true) {
                        return Ok(None);
                    }
                }
            }
        }
    }
}
