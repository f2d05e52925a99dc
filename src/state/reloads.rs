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
    /// When the last reload ended, successful or not.
    pub attempted: SystemTime,
    /// When the first reload that failed since then ended; `None` if the last one succeeded.
    pub failing_since: Option<SystemTime>,
    /// What is wrong with a newer configuration, which is not in force.
    pub faults: Vec<String>,
    /// The parts of the newer configuration whose restrictions are in force.
    pub restricted: Vec<&'static str>,
    /// Keys whose new values only a restart puts in force.
    pub pending_restart: Vec<&'static str>,
}

impl LastReload {
    /// A reload that succeeds now.
    pub(crate) fn now() -> Self {
        let now = SystemTime::now();
        Self {
            succeeded: now,
            attempted: now,
            failing_since: None,
            faults: Vec::new(),
            restricted: Vec::new(),
            pending_restart: Vec::new(),
        }
    }

    /// Notes a reload that fails now.
    pub(super) fn fail(&mut self, faults: Vec<String>, restricted: Vec<&'static str>) {
        let now = SystemTime::now();
        self.attempted = now;
        self.failing_since.get_or_insert(now);
        self.faults = faults;
        self.restricted = restricted;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reloads_fail_since_the_first_that_failed() {
        let mut last = LastReload::now();
        assert_eq!((last.attempted, last.failing_since), (last.succeeded, None));
        last.fail(vec!["broken".to_owned()], Vec::new());
        let since = last.failing_since;
        assert_eq!(since, Some(last.attempted));
        last.fail(vec!["broken".to_owned()], Vec::new());
        assert_eq!(last.failing_since, since);
        assert!(Some(last.attempted) > since);
    }
}
