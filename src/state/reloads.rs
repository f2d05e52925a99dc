//! Requests for a reload, and its outcome.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use super::State;

/// A request for a reload: from a signal, or from an operator who waits for the outcome.
pub(crate) type ReloadRequest = Option<oneshot::Sender<LastReload>>;

/// The sending side of the queue of requests.
#[derive(Debug)]
pub(crate) struct ReloadSender {
    queue: SyncSender<ReloadRequest>,
    wake: Arc<OwnedFd>,
}

/// The receiving side. Its descriptor is readable while requests may wait, so that one poll(2) can
/// wait for requests and for changes of files.
#[derive(Debug)]
pub(crate) struct ReloadReceiver {
    queue: Receiver<ReloadRequest>,
    wake: Arc<OwnedFd>,
}

/// A queue for so many requests.
///
/// # Errors
/// The system has no more descriptors.
pub(crate) fn reload_queue(capacity: usize) -> io::Result<(ReloadSender, ReloadReceiver)> {
    let (sender, receiver) = sync_channel(capacity);
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let sender = ReloadSender {
        queue: sender,
        wake: Arc::clone(&wake),
    };
    let receiver = ReloadReceiver {
        queue: receiver,
        wake,
    };
    Ok((sender, receiver))
}

impl ReloadSender {
    /// Adds a request, and returns whether there was room for it.
    pub(crate) fn send(&self, request: ReloadRequest) -> bool {
        let is_sent = self.queue.try_send(request).is_ok();
        // It fails only while it is readable, which wakes the receiver as well.
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).ok();
        is_sent
    }
}

impl ReloadReceiver {
    /// Takes all requests that wait.
    pub(crate) fn take(&self) -> Vec<ReloadRequest> {
        // Before the queue is read: a later request makes it readable again.
        rustix::io::read(&self.wake, &mut [0; 8]).ok();
        self.queue.try_iter().collect()
    }
}

impl AsFd for ReloadReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

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
        self.0.reading.send_replace(None);
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
