//! The reader thread: watches the files, reads them, and applies what they say.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use super::retry::Retry;
use super::watched::Watched;
use super::watcher::Watcher;
use crate::config::{Config, ConfigError, Listen, Log, Overrides, Sandbox, Tls};
use crate::gate::{Broken, Gate, Held, Sound};
use crate::io::file_deadline;
use crate::server::listen;
use crate::state::{LastReload, ReloadReceiver, State};
use crate::tls::credentials::Parts;

/// What the service manager is notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A reload has begun.
    Begun,
    /// It has ended, successfully or not.
    Ended,
}

/// Watches the files of the configuration, and reloads them.
#[derive(Debug)]
pub(super) struct Reader {
    overrides: Overrides,
    watcher: Watcher,
    requests: ReloadReceiver,
    phases: mpsc::Sender<Phase>,
    /// The settings that this process runs with.
    running: RestartOnly,
    /// The same settings in the last valid configuration.
    configured: RestartOnly,
    /// The files of the last valid configuration.
    whole_tls: Tls,
    /// The files of the newest configuration, valid or not, that names any.
    newest_tls: Tls,
    held: Held,
    /// The errors of the last reload, if it failed.
    last_errors: Option<Vec<String>>,
    retry: Retry,
    /// Gates no longer in force. They can be large, so this thread drops them.
    retired: Vec<Arc<Gate>>,
}

/// Settings that only a restart can change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RestartOnly {
    listen: Vec<Listen>,
    /// The path and its mode.
    admin_socket: Option<(PathBuf, u32)>,
    sandbox: Sandbox,
    log: Log,
}

impl RestartOnly {
    fn of(config: &Config) -> Self {
        let admin = config.admin.as_ref();
        Self {
            listen: config
                .listen
                .iter()
                .map(|given| given.value.clone())
                .collect(),
            admin_socket: admin.map(|admin| (admin.path.value.clone(), admin.mode)),
            sandbox: config.sandbox,
            log: config.log,
        }
    }

    /// The keys whose values differ.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let keys = [
            ("listen", self.listen != other.listen),
            ("admin_socket", self.admin_socket != other.admin_socket),
            ("sandbox", self.sandbox != other.sandbox),
            ("log.format", self.log.format != other.log.format),
            ("log.level", self.log.level != other.log.level),
            ("log.scrapes", self.log.scrapes != other.log.scrapes),
        ];
        let differing = keys.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(key, _)| key).collect()
    }
}

/// Why a reload happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A signal or an operator requested it.
    Requested,
    /// A file has changed.
    Changed,
    /// The last reload failed, and the cause may have gone away without a change of a file.
    Retry,
}

impl Reader {
    pub(super) fn new(
        overrides: &Overrides,
        config: &Config,
        mut watched: Watched,
        requests: ReloadReceiver,
        phases: mpsc::Sender<Phase>,
    ) -> Self {
        watched.add(&config.tls);
        Self {
            overrides: overrides.clone(),
            watcher: Watcher::new(watched),
            requests,
            phases,
            running: RestartOnly::of(config),
            configured: RestartOnly::of(config),
            whole_tls: config.tls.clone(),
            newest_tls: config.tls.clone(),
            held: Held::default(),
            last_errors: None,
            retry: Retry::default(),
            retired: Vec::new(),
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(super) fn start(mut self, state: &Arc<State>) -> io::Result<()> {
        file_deadline::start()?;
        let state = Arc::clone(state);
        let (started_tx, started_rx) = blocking::channel();
        let thread = thread::Builder::new().name("reader".to_owned());
        thread.spawn(move || {
            let mut whole = state.gate();
            // The sandbox also forbids what a thread does while it starts: report that it has.
            if started_tx.send(()).is_ok() {
                while !state.is_draining() {
                    // The thread must survive a panic: without it, no scraper could be revoked.
                    let pass = AssertUnwindSafe(|| self.pass(&state, &mut whole));
                    if catch_unwind(pass).is_err() {
                        self.report_panic(&state);
                    }
                }
            }
        })?;
        started_rx.recv().map_err(io::Error::other)
    }

    /// Waits for a request or the next look at the files, and reloads if there is a cause.
    fn pass(&mut self, state: &State, whole: &mut Arc<Gate>) {
        let unused_gate = (!self.retired.is_empty()).then(|| Instant::now() + RETIRE_PERIOD);
        let until = self.retry.due().into_iter().chain(unused_gate).min();
        self.watcher.wait(&self.requests, until);
        if state.is_draining() {
            return;
        }
        self.retired.retain(|gate| Arc::strong_count(gate) > 1);
        // One reload answers all waiting requests: each was made before anything is read.
        let requests = self.requests.take();
        if requests.is_empty() && !self.retry.is_due() && !self.watcher.is_due() {
            return;
        }
        // Look before reading: the next look finds a change that happens meanwhile.
        let changed = self.watcher.look();
        let is_polling = self.watcher.is_polling();
        state.recorder.metrics.reloads.polling(is_polling);
        let cause = if !requests.is_empty() {
            Cause::Requested
        } else if changed {
            Cause::Changed
        } else if self.retry.is_due() {
            Cause::Retry
        } else {
            return;
        };
        let _reading = state.reading();
        // The service manager is not notified of a retry.
        let is_notified = cause != Cause::Retry;
        if is_notified {
            self.retry = Retry::default();
            self.notify(Phase::Begun);
        }
        self.reload(state, whole, cause);
        self.watcher.look_again();
        let waiting = requests.into_iter().flatten();
        answer(waiting, &state.last_reload());
        if is_notified {
            self.notify(Phase::Ended);
        }
    }

    fn report_panic(&mut self, state: &State) {
        state.recorder.metrics.panicked();
        self.retry.failed();
        error!("a reload panicked; please report this bug with the lines above");
    }

    fn notify(&self, phase: Phase) {
        if self.phases.blocking_send(phase).is_err() {
            debug!("aegis is stopping: the service manager is not notified of a reload");
        }
    }

    /// Reads everything once. Applies it if it is valid, or else only the removals in its valid parts.
    pub(super) fn reload(&mut self, state: &State, whole: &mut Arc<Gate>, cause: Cause) {
        match self.read(whole) {
            Ok(gate) => {
                self.held = Held::default();
                self.last_errors = None;
                self.retry = Retry::default();
                for warning in gate.warnings() {
                    warn!("{warning}");
                }
                listen::raise_nofile_limit(&gate);
                let before = state.replace(gate);
                state.set_pending_restart(self.configured.differences(&self.running));
                let former = std::mem::replace(whole, state.gate());
                self.retire(before, whole);
                self.retire(former, whole);
                info!("reloaded");
            }
            Err(broken) => {
                let Broken { faults, sound } = *broken;
                self.held.update(sound, whole);
                let errors: Vec<String> = faults.iter().map(ConfigError::to_string).collect();
                let is_news =
                    self.last_errors.as_ref() != Some(&errors) || cause == Cause::Requested;
                self.retry.failed();
                let has_changed = self.restrict(state, whole, errors.clone());
                self.last_errors = Some(errors);
                // Retries log the same errors only once.
                if is_news {
                    for fault in &faults {
                        error!(%fault, "not reloaded: the previous configuration stays in force");
                    }
                }
                let parts = state.last_reload().restricted.join(" ");
                if (is_news || has_changed) && !parts.is_empty() {
                    warn!(
                        parts,
                        "restricted: removals in the valid parts of the new files are in force; additions wait until every error is fixed"
                    );
                }
            }
        }
    }

    /// Keeps a gate that is no longer in force until this thread holds the last reference.
    fn retire(&mut self, gate: Arc<Gate>, whole: &Arc<Gate>) {
        let is_same = |other: &Arc<Gate>| Arc::ptr_eq(other, &gate);
        if !is_same(whole) && !self.retired.iter().any(is_same) {
            self.retired.push(gate);
        }
    }

    /// Applies the removals in the valid parts, and returns whether they differ from those in force.
    fn restrict(&mut self, state: &State, whole: &Arc<Gate>, errors: Vec<String>) -> bool {
        let restrictions = self.held.restrictions(whole);
        let has_changed = !restrictions.are_the_same_as(state.gate().restrictions());
        let restricted = has_changed.then(|| whole.restricted_by(restrictions));
        let restricted = restricted.transpose().unwrap_or_else(|error| {
            error!(%error, "cannot apply the removals of the new files");
            None
        });
        if let Some(before) = state.keep(errors, restricted) {
            self.retire(before, whole);
        }
        has_changed
    }

    /// Reads everything.
    ///
    /// # Errors
    /// What is wrong, with the valid parts.
    fn read(&mut self, whole: &Gate) -> Result<Gate, Box<Broken>> {
        let read = match Config::read(&self.overrides) {
            Ok(config) => self.build(&config, whole),
            Err(invalid) => {
                let names_files = invalid.tls.is_some();
                if let Some(tls) = invalid.tls {
                    self.watch(tls);
                }
                let parts = Parts::read(&self.newest_tls);
                let sound = Sound::of(invalid.policy, Some(&parts));
                let mut faults = invalid.faults;
                if names_files {
                    faults.extend(parts.whole().err().unwrap_or_default());
                    faults.sort_by_key(ConfigError::line);
                }
                Err(Box::new(Broken { faults, sound }))
            }
        };
        read.map_err(|mut broken| {
            // A CRL that the new configuration no longer names is read until that one is in force.
            if !is_subset(&self.whole_tls, &self.newest_tls) {
                broken.sound.add(Parts::read(&self.whole_tls).crl_files());
            }
            broken
        })
    }

    fn build(&mut self, config: &Config, whole: &Gate) -> Result<Gate, Box<Broken>> {
        self.watch(config.tls.clone());
        let configured = RestartOnly::of(config);
        let gate = Gate::try_build(config, Some(whole))?;
        // Once for each change, and not if the configuration returns to what is running.
        if configured != self.configured && configured != self.running {
            let keys = configured.differences(&self.running).join(", ");
            warn!("changes of {keys} need a restart; everything else was reloaded");
        }
        self.configured = configured;
        self.whole_tls = config.tls.clone();
        let watched = &mut self.watcher.watched;
        watched.keep_only(&self.overrides, &[&self.whole_tls]);
        Ok(gate)
    }

    /// Watches the files of the newest configuration, before they are read, and those of the last valid
    /// one.
    fn watch(&mut self, tls: Tls) {
        self.watcher.watched.add(&tls);
        self.newest_tls = tls;
        let both = [&self.whole_tls, &self.newest_tls];
        self.watcher.watched.keep_only(&self.overrides, &both);
    }
}

fn answer(waiting: impl Iterator<Item = oneshot::Sender<LastReload>>, last: &LastReload) {
    for sender in waiting {
        // An operator who has disconnected finds the result in the log.
        drop(sender.send(last.clone()));
    }
}

/// Whether `of` names every CRL file that `tls` names.
fn is_subset(tls: &Tls, of: &Tls) -> bool {
    let mut files = tls.client_crl_files.iter();
    let is_named = |path| {
        let mut others = of.client_crl_files.iter();
        others.any(|other| other.value == path)
    };
    files.all(|file| is_named(file.value.clone()))
}

/// How often to check whether a gate that is no longer in force can be dropped, while there is one.
const RETIRE_PERIOD: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
