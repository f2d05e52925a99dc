//! Requests for a reload, and its outcome.

use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::State;

/// A request for a reload: from a signal, or from an operator who waits for the outcome.
pub(crate) type ReloadRequest = Option<oneshot::Sender<LastReload>>;

/// The outcome of a reload that an operator requested.
#[derive(Debug)]
pub(crate) enum Reloaded {
    /// It has ended.
    Done(LastReload),
    /// Too many requests wait already.
    TooMany,
    /// It takes longer than [`MAX_RELOAD_WAIT`].
    Slow,
    /// aegis is stopping.
    Stopping,
}

/// More than a slow disk needs for the largest files.
pub(super) const MAX_RELOAD_WAIT: Duration = Duration::from_secs(30);

/// The outcome of the last reload; the start counts as the first.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// When the current configuration was read.
    pub succeeded: SystemTime,
    /// What is wrong with a newer configuration, which is not in force.
    pub faults: Vec<String>,
    /// The parts of the newer configuration whose restrictions are in force.
    pub restricted: Vec<&'static str>,
}

impl LastReload {
    /// A reload that succeeds now.
    pub(super) fn now() -> Self {
        Self {
            succeeded: SystemTime::now(),
            faults: Vec::new(),
            restricted: Vec::new(),
        }
    }
}

/// Marks that files are being read, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reading<'a>(pub(super) &'a State);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        *self.0.reading.lock() = None;
    }
}
