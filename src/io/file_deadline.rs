//! File system calls with a deadline, for reloads.
//!
//! File system calls have no deadlines. So the reloading thread makes them on other threads, and waits
//! for a limited time. A late answer is an error like any other. While a call for a path is pending,
//! further calls for that path fail at once.
//!
//! Before the threads start, and in commands that serve nothing, calls block without limit.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::file_threads::Pool;

static RELOADS: LazyLock<ReloadThreads> = LazyLock::new(ReloadThreads::default);

/// Starts the threads, unless they run. Must precede the sandbox, which forbids it.
///
/// # Errors
/// The system has no more threads.
pub(crate) fn start() -> io::Result<()> {
    RELOADS.pool.start()
}

/// Begins a call for a path.
pub(crate) fn begin<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce() -> T + Send + 'static,
) -> Pending<T> {
    RELOADS.begin(path, call)
}

/// Makes a call for a path, and waits until the timeout.
///
/// # Errors
/// It did not answer in time, or an earlier call for the path is still pending.
pub(crate) fn ask<T: Send + 'static>(
    path: &Path,
    timeout: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    begin(path, call).wait(Instant::now() + timeout)
}

/// A call that has begun.
#[derive(Debug)]
pub(crate) enum Pending<T> {
    /// It is on one of the threads.
    Running(mpsc::Receiver<T>),
    /// It was made at once, as no threads run.
    Answered(T),
    /// It was not made: an earlier call for the path is still pending.
    Busy,
}

impl<T> Pending<T> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// There is none before the deadline.
    pub(crate) fn wait(self, deadline: Instant) -> io::Result<T> {
        let answer = match self {
            Self::Answered(answer) => Some(answer),
            Self::Busy => None,
            Self::Running(answer) => {
                let left = deadline.saturating_duration_since(Instant::now());
                answer.recv_timeout(left).ok()
            }
        };
        answer.ok_or_else(|| {
            let problem = "its file system does not answer; check whether its mount hangs";
            io::Error::new(io::ErrorKind::TimedOut, problem)
        })
    }
}

/// The threads for reloads, and the paths with a pending call.
#[derive(Debug)]
struct ReloadThreads {
    pool: Pool,
    busy: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Default for ReloadThreads {
    fn default() -> Self {
        Self {
            pool: Pool::named("reload-files"),
            busy: Arc::default(),
        }
    }
}

impl ReloadThreads {
    fn begin<T: Send + 'static>(
        &self,
        path: &Path,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Pending<T> {
        if !self.pool.is_running() {
            return Pending::Answered(call());
        }
        if !self.busy.lock().insert(path.to_owned()) {
            return Pending::Busy;
        }
        let guard = BusyGuard {
            path: path.to_owned(),
            busy: Arc::clone(&self.busy),
        };
        let (done, answer) = mpsc::channel();
        self.pool.submit(Box::new(move || {
            let answer = call();
            drop(guard);
            drop(done.send(answer));
        }));
        Pending::Running(answer)
    }
}

/// A path is busy until this is dropped.
struct BusyGuard {
    path: PathBuf,
    busy: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::file_threads::THREADS;
    use super::*;

    #[test]
    fn a_hung_path_delays_no_other_path_and_is_not_called_again() {
        let threads = ReloadThreads::default();
        threads.pool.start().unwrap();
        let (hung, other) = (Path::new("/hung"), Path::new("/other"));
        let late = || Instant::now() + Duration::from_secs(60);
        let (go_on, held_up) = mpsc::channel::<()>();
        let call = threads.begin(hung, move || held_up.recv().is_err());
        for number in 0..2 * THREADS {
            let again = threads.begin(hung, || ()).wait(late());
            assert_eq!(again.unwrap_err().kind(), io::ErrorKind::TimedOut);
            let answer = threads.begin(other, move || number).wait(late());
            assert_eq!(answer.unwrap(), number);
        }
        drop(go_on);
        assert!(call.wait(late()).unwrap());
        assert_eq!(threads.begin(hung, || 7).wait(late()).unwrap(), 7);
    }
}
