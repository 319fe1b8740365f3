//! What drivers and their layers write to stderr while a device is looked for and opened: notes for
//! their developers, some of which begin with "error:" where nothing has failed. It is kept out of
//! the way of who asks for that; nobody else's stderr is touched.

use parking_lot::Mutex;

struct State {
    wanted: bool,
    /// How many are at work that drivers may speak in.
    depth: usize,
    #[cfg(unix)]
    stderr: Option<std::os::fd::OwnedFd>,
}

static STATE: Mutex<State> = Mutex::new(State {
    wanted: false,
    depth: 0,
    #[cfg(unix)]
    stderr: None,
});

/// From now on nothing is seen of what drivers write. For a program that owns its stderr.
pub fn keep_drivers_quiet() {
    STATE.lock().wanted = true;
}

/// Gives stderr back at once, for a message that must be seen.
pub fn let_speak() {
    // A panic may come from within.
    if let Some(mut state) = STATE.try_lock() {
        restore(&mut state);
    }
}

/// Does work in which drivers may write.
pub fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let _muted = Muted::begin();
    work()
}

struct Muted;

impl Muted {
    fn begin() -> Self {
        let mut state = STATE.lock();
        state.depth += 1;
        if state.wanted && state.depth == 1 {
            mute(&mut state);
        }
        Self
    }
}

impl Drop for Muted {
    fn drop(&mut self) {
        let mut state = STATE.lock();
        state.depth -= 1;
        if state.depth == 0 {
            restore(&mut state);
        }
    }
}

#[cfg(unix)]
fn mute(state: &mut State) {
    use std::os::fd::AsFd;
    let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() else { return };
    let Ok(nowhere) = std::fs::File::options().write(true).open("/dev/null") else { return };
    if rustix::stdio::dup2_stderr(&nowhere).is_ok() {
        state.stderr = Some(stderr);
    }
}

#[cfg(unix)]
fn restore(state: &mut State) {
    if let Some(stderr) = state.stderr.take()
        && let Err(error) = rustix::stdio::dup2_stderr(&stderr)
    {
        tracing::debug!("stderr: {error}");
    }
}

/// Elsewhere drivers have not been seen to write.
#[cfg(not(unix))]
fn mute(_: &mut State) {}

#[cfg(not(unix))]
fn restore(_: &mut State) {}
