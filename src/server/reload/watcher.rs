//! Decides when to look at the files: soon after an event, or else every 500 ms.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::{info, warn};

use super::inotify::{Armed, Inotify, Unwatchable};
use super::watched::Watched;
use crate::io::file_deadline;
use crate::state::ReloadReceiver;

/// The watched files, and when to look at them.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) watched: Watched,
    inotify: Result<Arc<Inotify>, Unwatchable>,
    mode: Mode,
    /// When the first event since the last look came.
    event: Option<Instant>,
    last_look: Option<Instant>,
    /// When setting watches was last tried.
    last_armed: Option<Instant>,
}

/// How changes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing was tried yet.
    New,
    /// An event announces each change.
    Watching,
    /// By looking every [`LOOK_PERIOD`], for this reason.
    Polling(String),
}

impl Watcher {
    pub(super) fn new(watched: Watched) -> Self {
        Self {
            watched,
            inotify: Inotify::new().map(Arc::new),
            mode: Mode::New,
            event: None,
            last_look: None,
            last_armed: None,
        }
    }

    /// Whether the files are polled, as they cannot be watched.
    pub(super) fn is_polling(&self) -> bool {
        matches!(self.mode, Mode::Polling(_))
    }

    /// Waits for a request, for the time to look, or until `until`.
    pub(super) fn wait(&mut self, requests: &ReloadReceiver, until: Option<Instant>) {
        loop {
            let look = self.next_look();
            let until = until.map_or(look, |until| until.min(look));
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let awaited = match (&self.inotify, &self.mode, self.event) {
                // Further events change nothing: a storm of them must not keep the thread busy.
                (Ok(inotify), Mode::Watching, None) => Some(Arc::clone(inotify)),
                _ => None,
            };
            match wait_for(requests, awaited.as_deref(), left) {
                Woken::Request => return,
                Woken::Event => self.event = Some(Instant::now()),
                Woken::Neither => {}
            }
        }
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&self) -> bool {
        self.next_look() <= Instant::now()
    }

    fn next_look(&self) -> Instant {
        let Some(last) = self.last_look else {
            return Instant::now();
        };
        match (&self.mode, self.event) {
            (Mode::New | Mode::Polling(_), _) => last + LOOK_PERIOD,
            (Mode::Watching, None) => last + SAFETY_PERIOD,
            (Mode::Watching, Some(event)) => (last + LOOK_PERIOD).max(event + SETTLE_TIME),
        }
    }

    /// Looks once more soon: the set of files may have changed since its watches were set.
    pub(super) fn look_again(&mut self) {
        self.event.get_or_insert_with(Instant::now);
        self.last_armed = None;
    }

    /// Looks at all files, and returns whether any has changed since the last look.
    pub(super) fn look(&mut self) -> bool {
        self.event = None;
        // Before it, as a file that hangs delays the end: the next look at the others is due as usual.
        self.last_look = Some(Instant::now());
        match self.try_watching() {
            Some(changed) => changed,
            None => self.watched.look(),
        }
    }

    /// Sets the watches and looks, in this order, so that any later change is an event. Returns
    /// `None` if the files must be polled.
    fn try_watching(&mut self) -> Option<bool> {
        let is_early = |at: Instant| at.elapsed() < SAFETY_PERIOD;
        if self.is_polling() && self.last_armed.is_some_and(is_early) {
            return None;
        }
        self.last_armed = Some(Instant::now());
        let inotify = match &self.inotify {
            Ok(inotify) => Arc::clone(inotify),
            Err(unwatchable) => {
                self.set_mode(Mode::Polling(unwatchable.to_string()));
                return None;
            }
        };
        // A path that hangs is found by asking for each by itself.
        if self.is_polling() && self.watched.any_hangs() {
            return None;
        }
        let files = self.watched.paths();
        // Stands for all files. No file has this path.
        let all = files.first().map(|file| file.join("*"));
        // In one call, which wakes one thread: all of these file systems answer at once.
        let asked = file_deadline::ask(&all.unwrap_or_default(), ARM_TIMEOUT, move || {
            let armed = inotify.arm(&files);
            inotify.drain();
            (armed, Watched::stamps(&files))
        });
        match asked {
            Ok((Ok(armed), stamps)) => {
                self.set_mode(Mode::Watching);
                if armed == Armed::Moving {
                    self.event = Some(Instant::now());
                }
                Some(self.watched.update(stamps))
            }
            Ok((Err(unwatchable), stamps)) => {
                self.set_mode(Mode::Polling(unwatchable.to_string()));
                Some(self.watched.update(stamps))
            }
            Err(_) => {
                self.set_mode(Mode::Polling("a file system does not answer".to_owned()));
                None
            }
        }
    }

    fn set_mode(&mut self, mode: Mode) {
        if mode == self.mode {
            return;
        }
        match (&self.mode, &mode) {
            (_, Mode::Polling(why)) => {
                warn!("polls its files every {LOOK_PERIOD:?}: {why}");
            }
            (Mode::Polling(_), Mode::Watching) => info!("watches its files again"),
            (_, Mode::New | Mode::Watching) => {}
        }
        self.mode = mode;
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    Request,
    Event,
    Neither,
}

fn wait_for(requests: &ReloadReceiver, inotify: Option<&Inotify>, timeout: Duration) -> Woken {
    let mut descriptors = Vec::from([PollFd::new(requests, PollFlags::IN)]);
    descriptors.extend(inotify.map(|inotify| PollFd::new(inotify, PollFlags::IN)));
    let Ok(timeout) = Timespec::try_from(timeout) else {
        return Woken::Neither;
    };
    match poll(&mut descriptors, Some(&timeout)) {
        Ok(_) => {}
        // A signal: the caller waits again.
        Err(Errno::INTR) => return Woken::Neither,
        Err(_) => {
            // The caller must not spin if the system has no memory.
            thread::sleep(LOOK_PERIOD);
            return Woken::Request;
        }
    }
    let mut ready = descriptors
        .iter()
        .map(|descriptor| !descriptor.revents().is_empty());
    match (ready.next(), ready.next()) {
        (Some(true), _) => Woken::Request,
        (_, Some(true)) => Woken::Event,
        _ => Woken::Neither,
    }
}

/// How often the files are checked for changes at most; and at least, while they are polled.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// Between the first event and the look at it. A certificate and its key are two files, and are best
/// read together. Also longer than a tick of the clock that stamps files.
const SETTLE_TIME: Duration = Duration::from_millis(100);

/// How often the files are checked without an event. Not every change has one: see [`Inotify`].
const SAFETY_PERIOD: Duration = Duration::from_secs(30);

/// For setting all watches. After it, the files are polled.
const ARM_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
