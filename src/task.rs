//! Tasks and threads, and what they hand on to who waits for them.
//!
//! Nothing else in the crate spawns: a task is joined by who reads from it, so that a panic or an
//! abort in it is an error there, and never looks like the end of its rows. A task whose reader is
//! dropped is aborted. A runtime is not needed to drop any of these.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::pin::{Pin, pin};
use std::sync::Once;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::future::poll_fn;
use futures::{FutureExt, Stream, StreamExt};
use parking_lot::Mutex;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use crate::error::{Error, Result};

/// A task whose result is awaited. Dropped, it is aborted; blocking work goes on to its end then.
#[must_use = "a task that nobody awaits is aborted"]
pub struct Task<T> {
    /// What it does, for the error of its panic: `encoding a slot`.
    what: &'static str,
    handle: JoinHandle<Result<T>>,
}

impl<T: Send + 'static> Task<T> {
    /// Runs a future beside the caller.
    pub fn spawn(
        what: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Self {
        Self { what, handle: tokio::spawn(work) }
    }

    /// Runs work that computes or blocks on a thread of its own.
    pub fn blocking(what: &'static str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        Self { what, handle: tokio::task::spawn_blocking(work) }
    }

    /// Waits for the end.
    ///
    /// Errors: those of the work; a bug where it has panicked or was aborted.
    pub async fn join(mut self) -> Result<T> {
        poll_fn(|context| self.poll_join(context)).await
    }

    /// Whether it has ended, in whatever way.
    pub fn is_over(&self) -> bool {
        self.handle.is_finished()
    }

    fn poll_join(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        let joined = ready!(self.handle.poll_unpin(context));
        Poll::Ready(joined.unwrap_or_else(|error| Err(ended(self.what, error))))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Runs work that computes or blocks, off the threads of the runtime.
///
/// Errors: those of the work; a bug where it has panicked.
pub async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    Task::blocking(what, work).join().await
}

/// Does pieces of work that compute on several threads at once, and waits for all of them; their
/// results are in the order of the pieces. It blocks: for use inside of blocking work.
///
/// Errors: that of the first piece that has one. A panic of a piece is one here.
pub fn side_by_side<T: Send, R: Send>(
    pieces: Vec<T>,
    work: impl Fn(T) -> Result<R> + Send + Sync,
) -> Result<Vec<R>> {
    if pieces.len() < 2 {
        return pieces.into_iter().map(work).collect();
    }
    let done: Vec<Result<R>> = pieces.into_par_iter().map(work).collect();
    done.into_iter().collect()
}

/// Threads that `side_by_side` has.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Runs short blocking work, such as a write with its fsync, where the caller stands: the other
/// tasks of its thread go to another one meanwhile. In a runtime of one thread, and outside one,
/// it is a plain call.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Runs what nobody waits for, such as a checkpoint beside the work. Its errors and panics are
/// logged.
pub fn detached(what: &'static str, work: impl Future<Output = Result<()>> + Send + 'static) {
    drop(tokio::spawn(async move {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{what}: {error}"),
            Err(panic) => tracing::error!("{}", panicked(what, panic.as_ref())),
        }
    }));
}

/// What a task hands on, one after another, then its end.
pub struct Feed<T> {
    items: mpsc::Receiver<Result<T>>,
    /// Until it was joined.
    task: Option<Task<()>>,
}

/// The task's side of a feed.
pub type Feeder<T> = mpsc::Sender<Result<T>>;

impl<T: Send + 'static> Feed<T> {
    /// Runs a future that hands on items; `ahead` of them may wait to be taken. A send that fails
    /// tells it that nobody reads any more.
    pub fn spawn<W>(what: &'static str, ahead: usize, work: impl FnOnce(Feeder<T>) -> W) -> Self
    where
        W: Future<Output = Result<()>> + Send + 'static,
    {
        let (feeder, items) = mpsc::channel(ahead);
        Self { items, task: Some(Task::spawn(what, work(feeder))) }
    }

    /// The same by work that computes or blocks, on a thread of its own.
    pub fn blocking(
        what: &'static str,
        ahead: usize,
        work: impl FnOnce(Feeder<T>) -> Result<()> + Send + 'static,
    ) -> Self {
        let (feeder, items) = mpsc::channel(ahead);
        Self { items, task: Some(Task::blocking(what, move || work(feeder))) }
    }

    /// A feed of these items, without a task. There may be `ahead` of them at most.
    pub fn of(items: Vec<T>) -> Self {
        let (feeder, receiver) = mpsc::channel(items.len().max(1));
        for item in items {
            // The channel has room for all of them.
            let _ = feeder.try_send(Ok(item));
        }
        Self { items: receiver, task: None }
    }

    /// The next item; `None` once the task has ended well.
    ///
    /// Errors: what the task handed on as one; how it ended, a panic included.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|context| self.poll_item(context)).await
    }

    /// What is there now, without waiting; `Pending` while the task goes on and nothing is there.
    pub fn try_next(&mut self) -> Poll<Option<Result<T>>> {
        match self.items.try_recv() {
            Ok(item) => Poll::Ready(Some(item)),
            Err(mpsc::error::TryRecvError::Empty) => Poll::Pending,
            Err(mpsc::error::TryRecvError::Disconnected) => {
                self.poll_item(&mut Context::from_waker(Waker::noop()))
            }
        }
    }

    /// Takes nothing any more, and waits so long for the work to see that and end.
    pub async fn close(mut self, patience: Duration) {
        self.items.close();
        let Some(mut task) = self.task.take() else { return };
        let ended = poll_fn(|context| task.poll_join(context));
        let _ = tokio::time::timeout(patience, ended).await; // nobody asks how it has ended
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        if let Some(item) = ready!(self.items.poll_recv(context)) {
            return Poll::Ready(Some(item));
        }
        let Some(task) = &mut self.task else { return Poll::Ready(None) };
        let joined = ready!(task.poll_join(context));
        self.task = None;
        Poll::Ready(joined.err().map(Err))
    }
}

impl<T: Send + 'static> Stream for Feed<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_item(context)
    }
}

/// A thread whose end is waited for by whom it serves. Dropped, it is left alone.
#[must_use = "a thread that nobody joins may panic unseen"]
pub struct Thread<T> {
    name: &'static str,
    handle: std::thread::JoinHandle<T>,
}

impl<T: Send + 'static> Thread<T> {
    /// Starts a thread.
    ///
    /// Errors: the system has no more of them.
    pub fn spawn(
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<Self> {
        Self::start(name, std::thread::Builder::new(), work)
    }

    /// The same, with a stack of so many bytes.
    ///
    /// Errors: the system has no more of them.
    pub fn deep(
        name: &'static str,
        stack_bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<Self> {
        Self::start(name, std::thread::Builder::new().stack_size(stack_bytes), work)
    }

    fn start(
        name: &'static str,
        builder: std::thread::Builder,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<Self> {
        Ok(Self { name, handle: builder.name(name.to_string()).spawn(work)? })
    }

    /// Waits for its end.
    ///
    /// Errors: a bug where it has panicked.
    pub fn join(self) -> Result<T> {
        self.handle.join().map_err(|panic| panicked(self.name, panic.as_ref()))
    }
}

/// Starts a thread that nobody joins, such as one that answers requests. Its panics are logged.
///
/// Errors: the system has no more of them.
pub fn thread(name: &'static str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let work = move || {
        if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
            tracing::error!("{}", panicked(name, panic.as_ref()));
        }
    };
    std::thread::Builder::new().name(name.to_string()).spawn(work).map(drop)
}

thread_local! {
    /// This thread is inside `quietly`.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs work that others' data may make panic; such a panic is handed back and not told: it ends
/// nothing.
pub fn quietly<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic);
            }
        }));
    });
    let outer = QUIET.replace(true);
    let result = std::panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(outer);
    result
}

/// The same of a future.
pub async fn quiet<T>(work: impl Future<Output = T>) -> std::thread::Result<T> {
    let mut work = pin!(work);
    poll_fn(|context| match quietly(|| work.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// The same of the items of a stream, of which the one that panics is the last.
pub fn quiet_items<T: 'static>(
    items: impl Stream<Item = T> + Send + Unpin + 'static,
) -> impl Stream<Item = std::thread::Result<T>> + Send {
    futures::stream::unfold(Some(items), |items| async move {
        let mut items = items?;
        match quiet(items.next()).await {
            Ok(None) => None,
            Ok(Some(item)) => Some((Ok(item), Some(items))),
            Err(panic) => Some((Err(panic), None)),
        }
    })
}

/// Runs work; a panic in it is an error.
pub async fn caught<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|panic| Err(panicked(what, panic.as_ref())))
}

/// The same items; a panic in making one is an error, and the last of them.
pub fn caught_items<T, E: From<Error>>(
    what: &'static str,
    items: impl Stream<Item = Result<T, E>>,
) -> impl Stream<Item = Result<T, E>> {
    AssertUnwindSafe(items)
        .catch_unwind()
        .map(move |item| item.unwrap_or_else(|panic| Err(panicked(what, panic.as_ref()).into())))
}

/// The error of a task that has ended otherwise than by itself.
pub fn ended(what: &str, error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => panicked(what, panic.as_ref()),
        Err(_) => Error::Bug(format!("{what} was aborted before its end")),
    }
}

/// What the last panic said, and where in the source it was.
static LAST: Mutex<Option<(String, String)>> = Mutex::new(None);

/// Keeps where a panic is, for the error that it becomes: a hook of the process calls this.
pub fn note(panic: &PanicHookInfo<'_>) {
    let said = panic.payload_as_str().unwrap_or_default().to_string();
    *LAST.lock() = panic.location().map(|at| (said, format!(" ({}:{})", at.file(), at.line())));
}

/// What a panic said.
pub fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// The error that a panic becomes.
pub fn panicked(what: &str, panic: &(dyn Any + Send)) -> Error {
    let text = said(panic);
    let last = LAST.lock().clone().filter(|(said, _)| said == text);
    let at = last.map(|(_, at)| at).unwrap_or_default();
    let bug = format!("{what} panicked: {text}{at}");
    Error::too_long(&bug).unwrap_or(Error::Bug(bug))
}

#[cfg(test)]
mod tests {
    use arrow::buffer::OffsetBuffer;

    use super::*;

    fn text<T>(result: Option<Result<T>>) -> String {
        result.unwrap().err().unwrap().to_string()
    }

    #[tokio::test]
    async fn a_panic_is_an_error_behind_the_items() {
        let mut feed = Feed::spawn("counting", 1, |feeder| async move {
            feeder.send(Ok(1)).await.unwrap();
            panic!("at {}", 2)
        });
        assert_eq!(feed.next().await.unwrap().unwrap(), 1);
        assert!(text(feed.next().await).contains("counting panicked: at 2"));
        assert!(feed.next().await.is_none());
    }

    #[tokio::test]
    async fn an_error_at_the_end_comes_behind_the_items() {
        let mut feed = Feed::<i32>::spawn("counting", 1, |_| async {
            Err(Error::Data("no more".to_string()))
        });
        assert!(text(feed.next().await).contains("no more"));
        let mut feed = Feed::of(vec![1, 2]);
        assert_eq!(feed.next().await.unwrap().unwrap(), 1);
        assert_eq!(feed.next().await.unwrap().unwrap(), 2);
        assert!(feed.next().await.is_none());
    }

    #[tokio::test]
    async fn a_dropped_feed_ends_its_task() {
        struct Tells(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Tells {
            fn drop(&mut self) {
                self.0.take().map(|tell| tell.send(()));
            }
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        let tells = Tells(Some(tell));
        let feed = Feed::<i32>::spawn("waiting", 1, |_| async move {
            let _tells = tells;
            futures::future::pending().await
        });
        tokio::task::yield_now().await;
        drop(feed);
        told.await.unwrap();
    }

    #[tokio::test]
    async fn blocking_work_that_panics_is_an_error() {
        let work = blocking("adding", || -> Result<i32> { panic!("overflow") });
        assert!(work.await.unwrap_err().to_string().contains("adding panicked: overflow"));
        let thread = Thread::spawn("adds", || panic!("again")).unwrap();
        assert!(thread.join().unwrap_err().to_string().contains("adds panicked: again"));
        assert_eq!(in_place(|| 4), 4);
        assert!(quietly(|| panic!("unseen")).is_err() && quietly(|| 4).is_ok_and(|n| n == 4));
        let deep = Thread::deep("adds", 1 << 20, || 5).unwrap();
        assert_eq!(deep.join().unwrap(), 5);
    }

    #[tokio::test]
    async fn pieces_of_work_answer_in_their_order() {
        let numbers: Vec<usize> = (0..100).collect();
        assert_eq!(side_by_side(numbers.clone(), Ok).unwrap(), numbers);
        let odd = |number: usize| match number % 2 {
            0 => Ok(number),
            _ => Err(Error::Data(format!("{number} is odd"))),
        };
        let error = side_by_side(numbers.clone(), odd).unwrap_err();
        assert!(error.to_string().contains("1 is odd"), "{error}");
        let work = blocking("adding", || side_by_side(numbers, |_| -> Result<()> { panic!("no") }));
        assert!(work.await.unwrap_err().to_string().contains("adding panicked: no"));
    }

    #[tokio::test]
    async fn quiet_work_hands_its_panic_back() {
        let panic = quiet(async {
            if true {
                panic!("unseen {}", 1)
            }
        })
        .await;
        let panic: Box<dyn Any + Send> = panic.unwrap_err();
        assert_eq!(said(panic.as_ref()), "unseen 1");
        assert_eq!(quiet(async { 4 }).await.unwrap(), 4);
        let items = futures::stream::iter(0..5).map(|at| if at < 2 { at } else { panic!("two") });
        let items: Vec<_> = quiet_items(items).collect().await;
        assert_eq!(items.len(), 3);
        assert!(items[2].is_err() && items[1].as_ref().is_ok_and(|at| *at == 1));
    }

    #[test]
    fn values_that_are_too_long_are_no_bug() {
        let overflow = || OffsetBuffer::<i32>::from_lengths([i32::MAX as usize, 1]);
        let panic = quietly(overflow).unwrap_err();
        let error = panicked("a query", panic.as_ref());
        assert!(matches!(error, Error::Data(_)), "{error}");
        assert!(matches!(panicked("a query", &"something else"), Error::Bug(_)));
    }
}
