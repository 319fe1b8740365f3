//! What a person sees while a statement computes and nothing has been printed yet.

use std::io::IsTerminal;
use std::time::Duration;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use tokio::task::JoinHandle;

/// Shorter waits show nothing.
const QUIET: Duration = Duration::from_secs(1);

/// A spinner with the time passed, on a terminal only; gone when dropped.
pub struct Waiting {
    bar: ProgressBar,
    start: Option<JoinHandle<()>>,
}

impl Waiting {
    pub fn begin() -> Self {
        let style = ProgressStyle::with_template("{spinner} {elapsed}");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
            .with_finish(ProgressFinish::AndClear);
        if !std::io::stderr().is_terminal() {
            return Self { bar, start: None };
        }
        let shown = bar.clone();
        let start = tokio::spawn(async move {
            tokio::time::sleep(QUIET).await;
            shown.set_draw_target(ProgressDrawTarget::stderr());
            shown.enable_steady_tick(Duration::from_millis(200));
        });
        Self { bar, start: Some(start) }
    }

    /// The same rows; the spinner goes when the first of them come.
    pub fn until_first(self, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let schema = rows.schema();
        let mut waiting = Some(self);
        let rows = rows.map(move |batch| {
            drop(waiting.take());
            batch
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(start) = &self.start {
            start.abort();
        }
        self.bar.finish_and_clear();
    }
}
