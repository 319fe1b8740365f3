//! The program that long results are read with: `$PAGER`.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which program is a pager, with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pager(Vec<String>);

/// What is taken where a pager is asked for and the environment names none.
const USUAL: &str = "less";

/// `less` shows long lines by their beginning, to be moved sideways, and ends by itself where all
/// fits; the user's own settings go first.
const LESS: (&str, &str) = ("LESS", "FRSX");

impl Pager {
    /// The one that the environment names; none where nobody has asked for one.
    pub fn of_environment() -> Option<Self> {
        Self::parse(&std::env::var("PAGER").ok()?)
    }

    /// The one that the environment names, or the usual one.
    pub fn usual() -> Self {
        Self::of_environment().unwrap_or_else(|| Self(vec![USUAL.to_string()]))
    }

    fn parse(text: &str) -> Option<Self> {
        let words: Vec<String> = text.split_whitespace().map(str::to_string).collect();
        let none = words.is_empty() || words == ["cat"];
        (!none).then_some(Self(words))
    }

    /// Whether lines may be longer than the screen.
    pub fn moves_sideways(&self) -> bool {
        let name = self.0.first().map(|path| path.rsplit('/').next().unwrap_or(path));
        name == Some("less")
    }

    /// Starts it; `None` where there is no such program.
    pub fn start(&self) -> Option<Paging> {
        let (program, arguments) = self.0.split_first()?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped());
        if std::env::var_os(LESS.0).is_none() {
            command.env(LESS.0, LESS.1);
        }
        let child = command.spawn();
        if let Err(error) = &child {
            tracing::warn!("pager {program}: {error}");
        }
        let child = child.ok()?;
        OPEN.fetch_add(1, Ordering::Relaxed);
        Some(Paging(child))
    }
}

/// Pagers that are shown now.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Whether the terminal is a pager's, and Ctrl-C with it.
pub fn is_open() -> bool {
    OPEN.load(Ordering::Relaxed) > 0
}

/// A pager that reads. Who drops it waits until its user has seen enough.
pub struct Paging(Child);

impl Write for Paging {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.0.stdin {
            Some(stdin) => stdin.write(bytes),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut self.0.stdin {
            Some(stdin) => stdin.flush(),
            None => Ok(()),
        }
    }
}

impl Drop for Paging {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        if let Err(error) = self.0.wait() {
            tracing::debug!("waiting for the pager: {error}");
        }
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pager_is_a_program_with_arguments() {
        let pager = Pager::parse("/usr/bin/less -i").unwrap();
        assert_eq!(pager, Pager(vec!["/usr/bin/less".to_string(), "-i".to_string()]));
        assert!(pager.moves_sideways());
        assert!(!Pager::parse("more").unwrap().moves_sideways());
        assert_eq!((Pager::parse(""), Pager::parse("cat")), (None, None));
        assert!(Pager(vec!["no such program".to_string()]).start().is_none());
    }

    #[cfg(unix)]
    #[test]
    fn what_a_pager_does_not_read_is_a_broken_pipe() {
        let mut paging = Pager::parse("true").unwrap().start().unwrap();
        let more = vec![b'x'; 1 << 20];
        let error = (0..8).find_map(|_| paging.write_all(&more).err()).unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
}
