//! Tells the service manager how aegis is: ready, reloading, stopping, alive, and in what state.
//!
//! The descriptor is connected before the sandbox is put up, which then needs no hole for it: it
//! can be sent on, and no other be opened. `sd_notify::notify` would connect for each message.

use std::cell::RefCell;
use std::convert::Infallible;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{self, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use sd_notify::NotifyState;
use tokio::net::UnixDatagram;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, warn};

use crate::gate::Endpoint;

/// Whoever started aegis and wants to be told (`NOTIFY_SOCKET`); or nobody.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: Option<UnixDatagram>,
    /// How long may pass between two signs of life (`WATCHDOG_USEC`).
    watchdog: Option<Duration>,
    hearts: Vec<Arc<AtomicBool>>,
    /// What was said last.
    status: RefCell<String>,
}

impl Supervisor {
    /// Connects to whoever the environment names, in the event loop of this thread.
    pub(crate) fn from_environment() -> Self {
        let address = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty());
        let socket = address.and_then(|address| {
            connect(&address)
                .inspect_err(|error| {
                    warn!(%error, socket = ?address, "NOTIFY_SOCKET cannot be connected: the service manager is told nothing");
                })
                .ok()
        });
        Self::new(socket, sd_notify::watchdog_enabled())
    }

    fn new(socket: Option<UnixDatagram>, watchdog: Option<Duration>) -> Self {
        Self {
            watchdog: watchdog.filter(|watchdog| !watchdog.is_zero() && socket.is_some()),
            socket,
            hearts: Vec::new(),
            status: RefCell::default(),
        }
    }

    /// What another thread that serves has to let beat.
    pub(crate) fn heart(&mut self) -> Heart {
        let beaten = Arc::new(AtomicBool::new(true));
        self.hearts.push(Arc::clone(&beaten));
        Heart {
            beaten,
            every: self.watchdog.map(|watchdog| watchdog / BEATS),
        }
    }

    /// Says that whoever connects from now on is served.
    pub(crate) async fn ready(&self, endpoint: &Endpoint) {
        self.tell_with(NotifyState::Ready, status(endpoint)).await;
    }

    /// Says that the configuration is being read again; [`Supervisor::ready`] ends it.
    pub(crate) async fn reloading(&self) {
        // systemd takes this for the answer to its own wish only with the time (Type=notify-reload).
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]).await,
            Err(error) => warn!(%error, "there is no monotonic clock"),
        }
    }

    /// Says that draining has begun.
    pub(crate) async fn stopping(&self, endpoint: &Endpoint) {
        let open = endpoint.metrics.open_connections();
        let status = format!("stopping; {} open", counted(open, "connection"));
        self.tell_with(NotifyState::Stopping, status).await;
    }

    /// Gives signs of life for ever, as long as every thread serves; and says in what state aegis
    /// is whenever that has changed.
    pub(crate) async fn watch(&self, endpoint: &Endpoint) -> Infallible {
        if self.socket.is_none() {
            return std::future::pending().await;
        }
        let mut alive = pace(self.watchdog.map_or(LONG, |watchdog| watchdog / 2));
        let mut look = pace(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = alive.tick() => if self.watchdog.is_some() {
                    let phase = if endpoint.is_draining() { Phase::Draining } else { Phase::Serving };
                    self.sign_of_life(phase).await;
                },
                _ = look.tick() => if !endpoint.is_draining() {
                    self.tell_changed(status(endpoint)).await;
                },
            }
        }
    }

    /// Nothing is said as soon as one thread hangs: a service that serves some of the connections
    /// that it accepts is not well. Draining has a deadline of its own.
    async fn sign_of_life(&self, phase: Phase) {
        let mut all_beat = true;
        for beaten in &self.hearts {
            all_beat &= beaten.swap(false, Ordering::Relaxed);
        }
        match all_beat || phase == Phase::Draining {
            true => self.tell(&[NotifyState::Watchdog]).await,
            false => error!(
                "a thread does not serve: the watchdog is not told that all is well, and will end aegis if this lasts"
            ),
        }
    }

    async fn tell_changed(&self, status: String) {
        if *self.status.borrow() != status {
            self.tell(&[NotifyState::Status(&status)]).await;
            self.status.replace(status);
        }
    }

    async fn tell_with(&self, state: NotifyState<'_>, status: String) {
        self.tell(&[state, NotifyState::Status(&status)]).await;
        self.status.replace(status);
    }

    async fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        match timeout(PATIENCE, socket.send(message.as_bytes())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn!(%error, "the service manager could not be told"),
            Err(_) => warn!("the service manager does not read what it is told"),
        }
    }
}

/// What may be asked of the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// That each of them serves.
    Serving,
    /// Nothing: one that has no scrape left ends before the others.
    Draining,
}

/// Beats as long as the event loop of a thread turns.
#[derive(Debug)]
pub(crate) struct Heart {
    beaten: Arc<AtomicBool>,
    every: Option<Duration>,
}

impl Heart {
    /// Beats for ever; not at all if nobody watches.
    pub(crate) async fn beat(&self) -> Infallible {
        let Some(every) = self.every else {
            return std::future::pending().await;
        };
        let mut pace = pace(every);
        loop {
            pace.tick().await;
            self.beaten.store(true, Ordering::Relaxed);
        }
    }
}

fn pace(every: Duration) -> tokio::time::Interval {
    let mut pace = interval(every.max(Duration::from_millis(1)));
    // A host that slept has nothing to make up for.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// Connects to a socket by its path, or by its abstract name after an `@` (sd_notify(3)).
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => {
            return Err(io::Error::other(
                "it is neither a path nor, after an @, an abstract name",
            ));
        }
    };
    let socket = net::UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// One line for `systemctl status`.
fn status(endpoint: &Endpoint) -> String {
    let gate = endpoint.gate();
    let services = i64::try_from(gate.upstream.with_socket()).unwrap_or(i64::MAX);
    let until = gate.server_not_after().and_then(|at| {
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(at).ok()?))?;
        let time = humantime::format_rfc3339_seconds(at).to_string();
        time.split_once('T').map(|(date, _)| date.to_owned())
    });
    let reload = match endpoint.last_reload().faults.as_slice() {
        [] => "last reload ok".to_owned(),
        faults => {
            let count = i64::try_from(faults.len()).unwrap_or(i64::MAX);
            format!(
                "last reload failed with {}, see the log",
                counted(count, "error")
            )
        }
    };
    format!(
        "serving {}, {}; certificate until {}; {reload}",
        counted(services, "service"),
        counted(endpoint.metrics.open_connections(), "connection"),
        until.as_deref().unwrap_or("?")
    )
}

fn counted(count: i64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

/// Beats in the time that the watchdog gives: of those before each sign of life, one must have come.
const BEATS: u32 = 8;
/// A status is for people.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(24 * 60 * 60);
/// A service manager reads at once; serving must not wait for one that does not.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn supervised() -> (Supervisor, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let watchdog = Some(Duration::from_secs(30));
        (Supervisor::new(Some(ours), watchdog), theirs)
    }

    /// How often `WATCHDOG=1` comes within five minutes.
    async fn signs(mut supervisor: Supervisor, manager: UnixDatagram, phase: Phase) -> usize {
        let mut signs = 0;
        let mut alive = pace(supervisor.watchdog.unwrap() / 2);
        for _ in 0..20 {
            alive.tick().await;
            supervisor.sign_of_life(phase).await;
            let mut message = [0; 64];
            while let Ok(length) = manager.try_recv(&mut message) {
                assert_eq!(&message[..length], b"WATCHDOG=1\n");
                signs += 1;
            }
        }
        supervisor.hearts.clear();
        signs
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_told_as_long_as_every_thread_beats() {
        let (mut supervisor, manager) = supervised();
        let (first, second) = (supervisor.heart(), supervisor.heart());
        let signs = tokio::select! {
            signs = signs(supervisor, manager, Phase::Serving) => signs,
            never = first.beat() => match never {},
            never = second.beat() => match never {},
        };
        assert_eq!(signs, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn one_thread_that_hangs_is_enough_for_silence() {
        let (mut supervisor, manager) = supervised();
        let (first, _hangs) = (supervisor.heart(), supervisor.heart());
        let signs = tokio::select! {
            signs = signs(supervisor, manager, Phase::Serving) => signs,
            never = first.beat() => match never {},
        };
        // The first, for what was before.
        assert_eq!(signs, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_has_nothing_left_to_drain_is_no_reason_for_silence() {
        let (mut supervisor, manager) = supervised();
        let (first, ended) = (supervisor.heart(), supervisor.heart());
        drop(ended);
        let signs = tokio::select! {
            signs = signs(supervisor, manager, Phase::Draining) => signs,
            never = first.beat() => match never {},
        };
        assert_eq!(signs, 20);
    }
}
