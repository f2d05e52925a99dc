//! Reads the configuration and its files again, when told to and when they have changed.
//!
//! Everything is read and checked as a whole before anything changes. Where anything is wrong,
//! the last good state stays in force, and it is tried again.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::config::{Config, Fault, Listen, Log, Overrides, Sandbox};
use crate::gate::{Endpoint, Gate, Waiting};
use crate::listen;
use crate::log;
use crate::systemd::Supervisor;

/// Watches what the configuration was made from.
#[derive(Debug)]
pub(crate) struct Reloader {
    overrides: Overrides,
    hangup: Signal,
    watched: Watched,
    /// What this process runs with, and what the last configuration that was taken has.
    running: Settled,
    settled: Settled,
    /// What was said of the last try, if that failed.
    complaint: Option<Vec<String>>,
    /// Whoever asks for a reload on the admin socket.
    wishes: mpsc::Receiver<Waiting>,
    /// When it was last said what runs out.
    reminded: Instant,
    /// How many lost log lines were told of.
    told_lost: u64,
}

/// What only a restart can change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settled {
    listen: Vec<Listen>,
    admin: Option<(PathBuf, u32)>,
    sandbox: Sandbox,
    log: Log,
}

impl Settled {
    fn of(config: &Config) -> Self {
        let admin = config.admin.as_ref();
        Self {
            listen: config
                .listen
                .iter()
                .map(|given| given.value.clone())
                .collect(),
            admin: admin.map(|admin| (admin.path.value.clone(), admin.mode)),
            sandbox: config.sandbox,
            log: config.log,
        }
    }
}

impl Reloader {
    /// Begins to watch, before the files are read.
    pub(crate) fn new(
        overrides: &Overrides,
        config: &Config,
        wishes: mpsc::Receiver<Waiting>,
    ) -> io::Result<Self> {
        Ok(Self {
            overrides: overrides.clone(),
            hangup: signal(SignalKind::hangup())?,
            watched: Watched::of(overrides, config),
            running: Settled::of(config),
            settled: Settled::of(config),
            complaint: None,
            wishes,
            reminded: Instant::now(),
            told_lost: 0,
        })
    }

    /// Reloads on SIGHUP and on changes, for ever.
    pub(crate) async fn run(&mut self, endpoint: &Endpoint, supervisor: &Supervisor) -> Infallible {
        loop {
            let mut waiting = None;
            let told = tokio::select! {
                _ = self.hangup.recv() => true,
                Some(wish) = self.wishes.recv() => {
                    waiting = Some(wish);
                    true
                }
                () = sleep(LOOK_EVERY) => false,
            };
            self.remind(endpoint);
            // Looked at before anything is read: a change meanwhile is found the next time.
            let changed = self.watched.look();
            if told || changed {
                supervisor.reloading().await;
                self.reload(endpoint, told);
                supervisor.ready(endpoint).await;
            } else if self.complaint.is_some() {
                // Once a second, which is nothing to tell anybody.
                self.reload(endpoint, told);
            }
            if let Some(waiting) = waiting {
                // Whoever has left in the meantime finds it in the log.
                drop(waiting.send(self.complaint.clone().unwrap_or_default()));
            }
        }
    }

    /// Says what an operator should know who reads the log only now.
    fn remind(&mut self, endpoint: &Endpoint) {
        if self.reminded.elapsed() >= REMIND_EVERY {
            self.reminded = Instant::now();
            for warning in endpoint.gate().expiring() {
                warn!("{warning}");
            }
        }
        let lost = log::lost();
        if lost > self.told_lost && log::has_room() {
            let lines = lost.saturating_sub(self.told_lost);
            self.told_lost = lost;
            warn!(
                lines,
                "log lines were lost: nobody took them from standard error"
            );
        }
    }

    fn reload(&mut self, endpoint: &Endpoint, told: bool) {
        match Config::load(&self.overrides).and_then(|config| self.build(config, endpoint)) {
            Ok(gate) => {
                self.complaint = None;
                for warning in gate.warnings() {
                    warn!("{warning}");
                }
                listen::make_room(&gate);
                endpoint.replace(gate);
                info!("reloaded");
            }
            Err(faults) => {
                let complaint: Vec<String> = faults.iter().map(Fault::to_string).collect();
                endpoint.keep(complaint.clone());
                // Once, until something else is wrong: it is tried again every second.
                if told || self.complaint.as_ref() != Some(&complaint) {
                    for fault in &faults {
                        error!(%fault, "not reloaded: the configuration before stays in force");
                    }
                }
                self.complaint = Some(complaint);
            }
        }
    }

    fn build(&mut self, config: Config, endpoint: &Endpoint) -> Result<Gate, Vec<Fault>> {
        let watched = Watched::of(&self.overrides, &config);
        let settled = Settled::of(&config);
        let gate = Gate::build(config, Some(&endpoint.gate()))?;
        // Once for each change, and not when what runs is named again.
        if settled != self.settled && settled != self.running {
            warn!(
                "listen, admin_socket, sandbox, log.format and log.level change only by a restart; the rest is reloaded"
            );
        }
        self.settled = settled;
        // Files that the configuration did not name before are watched from what they were
        // when it was read.
        self.watched.go_on_with(watched);
        Ok(gate)
    }
}

/// How soon a change is seen. A look is a stat(2) of each file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Often enough that a day's log has it.
const REMIND_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Files, and what they were when they were last looked at.
#[derive(Debug)]
struct Watched(Vec<(PathBuf, Option<Stamp>)>);

/// What changes with a file: written in place, replaced by rename, or behind another link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Watched {
    fn of(overrides: &Overrides, config: &Config) -> Self {
        let paths = config.tls.files().chain([Config::file(overrides)]);
        Self(
            paths
                .map(|path| (path.to_owned(), Stamp::of(path)))
                .collect(),
        )
    }

    /// Whether any file has changed since the last look.
    fn look(&mut self) -> bool {
        let mut changed = false;
        for (path, before) in &mut self.0 {
            let now = Stamp::of(path);
            changed |= now != *before;
            *before = now;
        }
        changed
    }

    /// Watches these files from now on; those that were watched before, since the last look.
    fn go_on_with(&mut self, mut others: Self) {
        for (path, stamp) in &mut others.0 {
            if let Some((_, before)) = self.0.iter().find(|(known, _)| known == path) {
                *stamp = *before;
            }
        }
        *self = others;
    }
}
