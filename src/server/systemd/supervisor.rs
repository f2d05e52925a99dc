//! Notifies the service manager (sd_notify(3)): ready, reloading, stopping, watchdog pings, status.
//!
//! The socket is connected before the process enters the sandbox, which then needs no exception for
//! it. `sd_notify::notify` would connect again for each message.

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
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{error, warn};

use crate::services::Depth;
use crate::state::State;

/// The connection to the service manager. Without `NOTIFY_SOCKET`, nothing is sent.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: Option<UnixDatagram>,
    /// The longest time between two watchdog pings (`WATCHDOG_USEC`).
    watchdog: Option<Duration>,
    /// One for each worker.
    workers: Vec<Arc<Pulse>>,
    /// The status that was sent last.
    status: RefCell<String>,
}

impl Supervisor {
    /// Connects to the socket that the environment names, in the event loop of this thread.
    pub(crate) fn from_environment() -> Self {
        let address = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty());
        let socket = address.and_then(|address| {
            connect(&address)
                .inspect_err(|error| {
                    warn!(%error, socket = ?address, "cannot connect to NOTIFY_SOCKET: the service manager gets no notifications");
                })
                .ok()
        });
        Self::new(socket, sd_notify::watchdog_enabled())
    }

    fn new(socket: Option<UnixDatagram>, watchdog: Option<Duration>) -> Self {
        Self {
            watchdog: watchdog.filter(|watchdog| !watchdog.is_zero() && socket.is_some()),
            socket,
            workers: Vec::new(),
            status: RefCell::default(),
        }
    }

    /// Adds a worker, and returns the heartbeat that it must run.
    pub(crate) fn heartbeat(&mut self) -> Heartbeat {
        let pulse = Arc::new(Pulse::default());
        pulse.is_alive.store(true, Ordering::Relaxed);
        self.workers.push(Arc::clone(&pulse));
        Heartbeat(pulse)
    }

    /// Reports that aegis serves.
    pub(crate) async fn ready(&self, state: &State) {
        let status = status(state).await;
        self.notify_with_status(NotifyState::Ready, status).await;
    }

    /// Reports that a reload has begun. [`Supervisor::ready`] ends it.
    pub(crate) async fn reloading(&self) {
        // systemd matches this to its own reload request by the time (Type=notify-reload).
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.notify(&[NotifyState::Reloading, now]).await,
            Err(error) => warn!(%error, "cannot read the monotonic clock"),
        }
    }

    /// Reports that draining has begun.
    pub(crate) async fn stopping(&self, state: &State) {
        let open = state.recorder.metrics.open_connections();
        let status = format!("stopping; {} open", counted(open, "connection"));
        self.notify_with_status(NotifyState::Stopping, status).await;
    }

    /// Sends watchdog pings for as long as every thread serves, and the status whenever it changes.
    pub(crate) async fn watch(&self, state: &State) -> Infallible {
        if self.socket.is_none() {
            return std::future::pending().await;
        }
        let status_is_due = Notify::new();
        // One timer for both: an idle aegis wakes as seldom as possible.
        let pings = async {
            let period = self.watchdog.map_or(STATUS_PERIOD, |watchdog| watchdog / 2);
            let mut ticks = ticks(period);
            let mut last_status = Instant::now();
            loop {
                ticks.tick().await;
                if is_status_due(last_status, period) {
                    last_status = Instant::now();
                    status_is_due.notify_one();
                }
                if self.watchdog.is_some() {
                    let phase = if state.is_draining() {
                        Phase::Draining
                    } else {
                        Phase::Serving
                    };
                    self.ping_watchdog(phase).await;
                }
            }
        };
        // Concurrently: counting services is slow on a file system that hangs.
        let statuses = async {
            loop {
                status_is_due.notified().await;
                if !state.is_draining() {
                    self.update_status(status(state).await).await;
                }
            }
        };
        tokio::select! {
            never = pings => never,
            never = statuses => never,
        }
    }

    /// Sends a ping, unless a thread hangs: serving only some of the accepted connections is a
    /// failure. Draining has its own deadline.
    async fn ping_watchdog(&self, phase: Phase) {
        let mut all_alive = true;
        for pulse in &self.workers {
            all_alive &= pulse.is_alive.swap(false, Ordering::Relaxed);
            pulse.asked.notify_one();
        }
        if all_alive || phase == Phase::Draining {
            self.notify(&[NotifyState::Watchdog]).await;
        } else {
            error!(
                "a worker is unresponsive: withholding the watchdog ping; systemd will restart aegis if this persists"
            );
        }
    }

    async fn update_status(&self, status: String) {
        if *self.status.borrow() != status {
            self.notify(&[NotifyState::Status(&status)]).await;
            self.status.replace(status);
        }
    }

    async fn notify_with_status(&self, state: NotifyState<'_>, status: String) {
        self.notify(&[state, NotifyState::Status(&status)]).await;
        self.status.replace(status);
    }

    async fn notify(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        match timeout(NOTIFY_TIMEOUT, socket.send(message.as_bytes())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn!(%error, "sd_notify failed"),
            Err(_) => warn!("sd_notify timed out: the service manager is not reading its socket"),
        }
    }
}

/// What is required of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Each of them must be alive.
    Serving,
    /// Nothing: a worker without connections ends before the others.
    Draining,
}

/// Shows that the event loop of a worker runs.
#[derive(Debug)]
pub(crate) struct Heartbeat(Arc<Pulse>);

/// What a worker and the supervisor share.
#[derive(Debug, Default)]
struct Pulse {
    /// Whether the worker has beaten since the last ping.
    is_alive: AtomicBool,
    /// Each ping asks for the beat that the next one needs.
    asked: Notify,
}

impl Heartbeat {
    /// Beats once after each ping: never, if there is no watchdog.
    pub(crate) async fn run(&self) -> Infallible {
        loop {
            self.0.asked.notified().await;
            self.0.is_alive.store(true, Ordering::Relaxed);
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period.max(Duration::from_millis(1)));
    // Do not catch up on missed ticks after the host was suspended.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Connects to a socket by its path, or by its abstract name after an `@` (sd_notify(3)).
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => {
            return Err(io::Error::other(
                "not an absolute path or an abstract name (@NAME)",
            ));
        }
    };
    let socket = net::UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// One line for `systemctl status`.
async fn status(state: &State) -> String {
    let gate = state.gate();
    let inventory = state.inspect(&gate, Depth::Names).await;
    let services = i64::try_from(inventory.there.len()).unwrap_or(i64::MAX);
    let until = gate.server_not_after().and_then(|at| {
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(at).ok()?))?;
        let time = humantime::format_rfc3339_seconds(at).to_string();
        time.split_once('T').map(|(date, _)| date.to_owned())
    });
    let reload = match state.last_reload().faults.as_slice() {
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
        counted(state.recorder.metrics.open_connections(), "connection"),
        until.as_deref().unwrap_or("?")
    )
}

/// Whether the status is due at this tick rather than at the next one. Ticks come a little late, and the one
/// after such a tick a little less than a period later.
fn is_status_due(last: Instant, period: Duration) -> bool {
    last.elapsed() + period / 2 >= STATUS_PERIOD
}

fn counted(count: i64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

/// How often the status is sent at most, if it has changed. People read it.
const STATUS_PERIOD: Duration = Duration::from_secs(30);
/// A service manager reads at once. Serving must not wait for one that hangs.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn supervised() -> (Supervisor, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let watchdog = Some(Duration::from_secs(30));
        (Supervisor::new(Some(ours), watchdog), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_is_due_at_the_nearest_tick() {
        for (period, due) in [(30, 1), (15, 2), (10, 3), (7, 4), (45, 1)] {
            let period = Duration::from_secs(period);
            let last = Instant::now();
            advance(period * due - Duration::from_millis(4)).await;
            assert!(is_status_due(last, period), "{period:?}");
            let last = Instant::now();
            advance(period * (due - 1) + Duration::from_millis(4)).await;
            assert!(!is_status_due(last, period), "{period:?}");
        }
    }

    /// Counts the `WATCHDOG=1` messages within five minutes.
    async fn count_pings(mut supervisor: Supervisor, manager: UnixDatagram, phase: Phase) -> usize {
        let mut pings = 0;
        let mut ticks = ticks(supervisor.watchdog.unwrap() / 2);
        for _ in 0..20 {
            ticks.tick().await;
            supervisor.ping_watchdog(phase).await;
            let mut message = [0; 64];
            while let Ok(length) = manager.try_recv(&mut message) {
                assert_eq!(&message[..length], b"WATCHDOG=1\n");
                pings += 1;
            }
        }
        supervisor.workers.clear();
        pings
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_pinged_while_every_worker_beats() {
        let (mut supervisor, manager) = supervised();
        let (first, second) = (supervisor.heartbeat(), supervisor.heartbeat());
        let pings = tokio::select! {
            pings = count_pings(supervisor, manager, Phase::Serving) => pings,
            never = first.run() => match never {},
            never = second.run() => match never {},
        };
        assert_eq!(pings, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn one_hung_worker_stops_the_watchdog_pings() {
        let (mut supervisor, manager) = supervised();
        let (first, _hangs) = (supervisor.heartbeat(), supervisor.heartbeat());
        let pings = tokio::select! {
            pings = count_pings(supervisor, manager, Phase::Serving) => pings,
            never = first.run() => match never {},
        };
        // The first ping covers the time before the worker hung.
        assert_eq!(pings, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_has_drained_does_not_stop_the_watchdog_pings() {
        let (mut supervisor, manager) = supervised();
        let (first, ended) = (supervisor.heartbeat(), supervisor.heartbeat());
        drop(ended);
        let pings = tokio::select! {
            pings = count_pings(supervisor, manager, Phase::Draining) => pings,
            never = first.run() => match never {},
        };
        assert_eq!(pings, 20);
    }
}
