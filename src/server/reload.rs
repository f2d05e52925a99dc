//! Reloads the configuration and its files, on request and when they have changed.
//!
//! Everything is read and checked before anything new is granted. If anything is wrong, the last
//! valid state stays in force, minus the removals in the valid parts of the new files, and the reload
//! is retried. A separate thread reads, so that neither a large file nor a hung file system delays a
//! scrape. A file that cannot be read in time counts as broken, and does not delay the removals in
//! other files.

mod inotify;
mod watcher;
mod reader;
mod retry;
mod watched;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until};
use tracing::{error, warn};

use crate::config::{Config, Overrides};
use crate::server::systemd::Supervisor;
use crate::state::{ReloadSender, State, reload_queue};
use crate::telemetry::log::{self, Room};
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
}

impl Reloader {
    /// Creates the reloader, and the channel that requests a reload.
    ///
    /// # Errors
    /// SIGHUP cannot be handled, or the system has no more descriptors.
    pub(crate) fn new(
        overrides: &Overrides,
        config: &Config,
        watched: Watched,
    ) -> io::Result<(Self, ReloadSender)> {
        let (phases_tx, phases) = mpsc::channel(MAX_PHASES);
        let (reloads, requests) = reload_queue(MAX_REQUESTS)?;
        let reloader = Self {
            hangup: signal(SignalKind::hangup())?,
            reader: Some(Reader::new(overrides, config, watched, requests, phases_tx)),
            phases,
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

    /// Requests a reload on SIGHUP, reports reloads to the service manager, and logs what needs
    /// attention. Runs forever, and wakes only for a reason.
    pub(crate) async fn run(&mut self, state: &State, supervisor: &Supervisor) -> Infallible {
        let requests = async {
            loop {
                tokio::select! {
                    _ = self.hangup.recv() => state.request_reload(),
                    Some(phase) = self.phases.recv() => match phase {
                        Phase::Begun => supervisor.reloading().await,
                        Phase::Ended => supervisor.ready(state).await,
                    },
                }
            }
        };
        tokio::select! {
            never = requests => never,
            never = log_reminders(state) => never,
            never = log_dropped_lines() => never,
            never = log_slow_reloads(state) => never,
        }
    }
}

/// Repeats warnings for an operator who reads only the recent log.
async fn log_reminders(state: &State) -> Infallible {
    loop {
        sleep(REMINDER_PERIOD).await;
        for warning in state.gate().expiring() {
            warn!("{warning}");
        }
    }
}

/// Logs how many log lines were dropped, once there is room for that line.
async fn log_dropped_lines() -> Infallible {
    let mut reported = 0;
    loop {
        let dropped = log::dropped_lines();
        if dropped == reported {
            log::line_dropped().await;
        } else {
            match log::room() {
                Room::Free => {
                    let lines = dropped.saturating_sub(reported);
                    reported = dropped;
                    warn!(lines, "dropped log lines: stderr was not being read");
                }
                Room::Full => {}
                // This report would be lost too, and be counted as a line to report.
                Room::NoReader => log::line_dropped().await,
            }
        }
        sleep(DROPPED_PERIOD).await;
    }
}

/// Logs once if a reload takes very long.
async fn log_slow_reloads(state: &State) -> Infallible {
    let mut readings = state.readings();
    loop {
        let begun = *readings.borrow_and_update();
        let is_slow = async {
            match begun {
                Some(begun) => sleep_until((begun + SLOW_RELOAD).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The sender lives as long as the state.
            _ = readings.changed() => continue,
            () = is_slow => {}
        }
        error!(
            "reading the configuration and its files takes longer than {SLOW_RELOAD:?}: changes wait until it ends; look for a hung file system"
        );
        drop(readings.changed().await);
    }
}

/// How often dropped log lines are reported at most.
const DROPPED_PERIOD: Duration = Duration::from_secs(1);

/// The log of any day has the reminders.
const REMINDER_PERIOD: Duration = Duration::from_secs(6 * 60 * 60);

/// A slow disk reads the largest files in less.
const SLOW_RELOAD: Duration = Duration::from_secs(30);

/// Requests that can wait. One reload answers all of them.
const MAX_REQUESTS: usize = 8;

/// Phases not yet reported to the service manager. The reader thread waits while the channel is full.
const MAX_PHASES: usize = 8;
