//! Reloads the configuration and its files, on request and when they have changed.
//!
//! Everything is read and checked before anything new is granted. If anything is wrong, the last
//! valid state stays in force, minus the removals in the valid parts of the new files, and the reload
//! is retried. A separate thread reads, so that neither a large file nor a hung file system delays a
//! scrape. A file that cannot be read in time counts as broken, and does not delay the removals in
//! other files.

mod reader;
mod watched;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use crate::config::{Config, Overrides};
use crate::server::systemd::Supervisor;
use crate::state::{ReloadRequest, State};
use crate::telemetry::log;
use reader::{Phase, Reader};
pub(crate) use watched::Watched;

/// The part of reloads that runs in the event loop: it passes SIGHUP to the reader thread, and reports
/// the thread's reloads to the service manager.
#[derive(Debug)]
pub(crate) struct Reloader {
    hangup: Signal,
    /// The reader, until its thread starts.
    reader: Option<Reader>,
    phases: mpsc::Receiver<Phase>,
    /// When expiring certificates and CRLs were last logged.
    reminded: Instant,
    /// How many dropped log lines have been reported.
    reported_dropped: u64,
    /// Whether the running reload has been reported as slow.
    reported_slow: bool,
}

impl Reloader {
    /// Creates the reloader, and the channel that requests a reload.
    ///
    /// # Errors
    /// SIGHUP cannot be handled.
    pub(crate) fn new(
        overrides: &Overrides,
        config: &Config,
        watched: Watched,
    ) -> io::Result<(Self, SyncSender<ReloadRequest>)> {
        let (phases_tx, phases) = mpsc::channel(MAX_PHASES);
        let (reloads, requests) = sync_channel(MAX_REQUESTS);
        let reloader = Self {
            hangup: signal(SignalKind::hangup())?,
            reader: Some(Reader::new(overrides, config, watched, requests, phases_tx)),
            phases,
            reminded: Instant::now(),
            reported_dropped: 0,
            reported_slow: false,
        };
        Ok((reloader, reloads))
    }

    /// Starts the reader thread. The sandbox forbids this later.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(crate) fn start(&mut self, state: &Arc<State>) -> io::Result<()> {
        match self.reader.take() {
            Some(reader) => reader.start(state),
            None => Ok(()),
        }
    }

    /// Requests a reload on SIGHUP, and reports reloads to the service manager. Runs forever.
    pub(crate) async fn run(&mut self, state: &State, supervisor: &Supervisor) -> Infallible {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => state.request_reload(),
                Some(phase) = self.phases.recv() => match phase {
                    Phase::Begun => supervisor.reloading().await,
                    Phase::Ended => supervisor.ready(state).await,
                },
                () = sleep(CHECK_PERIOD) => {}
            }
            self.log_reminders(state);
        }
    }

    /// Repeats warnings for an operator who reads only the recent log.
    fn log_reminders(&mut self, state: &State) {
        if self.reminded.elapsed() >= REMINDER_PERIOD {
            self.reminded = Instant::now();
            for warning in state.gate().expiring() {
                warn!("{warning}");
            }
        }
        let dropped = log::dropped_lines();
        if dropped > self.reported_dropped && log::has_room() {
            let lines = dropped.saturating_sub(self.reported_dropped);
            self.reported_dropped = dropped;
            warn!(lines, "dropped log lines: stderr was not being read");
        }
        let is_slow = state.reading_for() >= SLOW_RELOAD;
        if is_slow && !self.reported_slow {
            error!(
                "reading the configuration and its files takes longer than {SLOW_RELOAD:?}: changes wait until it ends; look for a hung file system"
            );
        }
        self.reported_slow = is_slow;
    }
}

const CHECK_PERIOD: Duration = Duration::from_secs(1);

/// The log of any day has the reminders.
const REMINDER_PERIOD: Duration = Duration::from_secs(6 * 60 * 60);

/// A slow disk reads the largest files in less.
const SLOW_RELOAD: Duration = Duration::from_secs(30);

/// Requests that can wait. One reload answers all of them.
const MAX_REQUESTS: usize = 8;

/// Phases not yet reported to the service manager. The reader thread waits while the channel is full.
const MAX_PHASES: usize = 8;
