//! What all connections share, and what changes while aegis runs: the current gate, the limiters, the
//! recorder, draining and the last reload.
//!
//! # Why connections and scrapes are shared between scrapers, and not only capped
//!
//! A cap on each scraper would have to be small enough that all of them together fit. On an idle
//! aegis it would then refuse scrapes without need, and with every new scraper an operator would have
//! to choose it again. So there is one total (`connections`, `handshakes`, and `max_concurrent` of
//! each service), and a rule about who gives way when it is used up. Before the handshake the rule
//! counts by address, which is all that is known, and prefers addresses from which a scraper has
//! authenticated before. After it, the rule counts by certificate, because one scraper may have many
//! addresses. The holder of the most gives way to one with fewer: a connection at once, because
//! Prometheus simply opens another; a scrape by waiting for the next free slot, because cutting one
//! off would lose its samples. A lead of two is needed, or two holders would evict each other forever.
//!
//! The limiters are not part of the [`Gate`]: what is open stays open over a reload, and must stay
//! counted. Each gate brings its own numbers.

mod concurrency;
mod connections;
mod handshakes;
mod reloads;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::info;

use crate::gate::Gate;
use crate::services::{Depth, Inventory, SharedServices};
use crate::telemetry::metrics::LayerState;
use crate::telemetry::recorder::Recorder;
use crate::text::host_name::HostName;
pub(crate) use concurrency::{ConcurrencyGuard, ConcurrencyLimiter};
pub use connections::ConnectionLimiter;
pub(crate) use connections::ConnectionUse;
pub(crate) use connections::{ConnectionGuard, PeerHistory};
pub(crate) use handshakes::HandshakeLimiter;
pub use reloads::LastReload;
use reloads::MAX_RELOAD_WAIT;
pub(crate) use reloads::{Reading, ReloadReceiver, ReloadSender, Reloaded, reload_queue};

/// What all connections share.
#[derive(Debug)]
pub struct State {
    gate: watch::Sender<Arc<Gate>>,
    pub(crate) connections: Arc<ConnectionLimiter>,
    handshakes: Mutex<Arc<HandshakeLimiter>>,
    pub(crate) concurrency: Arc<ConcurrencyLimiter>,
    services: Arc<SharedServices>,
    pub(crate) recorder: Recorder,
    last_reload: Mutex<LastReload>,
    /// When the current reload began, while there is one.
    reading: watch::Sender<Option<Instant>>,
    reloads: ReloadSender,
    addresses: Vec<SocketAddr>,
    pub(crate) host_name: HostName,
    /// The layers of the sandbox, once it was entered.
    pub(crate) sandbox: OnceLock<Vec<SandboxLayer>>,
    drain: watch::Sender<bool>,
}

/// A layer of the sandbox.
#[derive(Clone, Debug)]
pub(crate) struct SandboxLayer {
    pub(crate) name: &'static str,
    pub(crate) state: LayerState,
    /// Why it is inactive, if the kernel told.
    pub(crate) why: Option<String>,
}

impl State {
    /// The state of an aegis that listens on these addresses and starts with this gate.
    pub(crate) fn new(gate: Gate, addresses: Vec<SocketAddr>, reloads: ReloadSender) -> Self {
        Self {
            connections: Arc::default(),
            handshakes: Mutex::new(Arc::new(HandshakeLimiter::new(gate.limits.handshakes))),
            concurrency: Arc::default(),
            services: Arc::clone(gate.services.shared()),
            recorder: Recorder::default(),
            gate: watch::channel(Arc::new(gate)).0,
            last_reload: Mutex::new(LastReload::now()),
            reading: watch::channel(None).0,
            reloads,
            addresses,
            host_name: HostName::current(),
            sandbox: OnceLock::new(),
            drain: watch::channel(false).0,
        }
    }

    /// The current gate.
    #[must_use]
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate.borrow())
    }

    /// The limiter of handshakes.
    pub(crate) fn handshakes(&self) -> Arc<HandshakeLimiter> {
        Arc::clone(&self.handshakes.lock())
    }

    /// The part of the services that outlives every gate.
    pub(crate) fn services(&self) -> &Arc<SharedServices> {
        &self.services
    }

    /// Watches the gate: a connection is judged again when it changes.
    pub(crate) fn gates(&self) -> watch::Receiver<Arc<Gate>> {
        self.gate.subscribe()
    }

    /// Replaces the gate, also for open connections. Returns the one before, which may take long to
    /// drop.
    pub(crate) fn replace(&self, gate: Gate) -> Arc<Gate> {
        let max_handshakes = gate.limits.handshakes;
        let before = self.gate.send_replace(Arc::new(gate));
        // A replaced limiter still limits the handshakes that have begun.
        if max_handshakes != before.limits.handshakes {
            *self.handshakes.lock() = Arc::new(HandshakeLimiter::new(max_handshakes));
        }
        self.connections.forget_absent();
        for service in self.gate().services.forget_removed() {
            self.recorder.forget(service);
        }
        self.recorder.metrics.reloads.succeeded();
        *self.last_reload.lock() = LastReload::now();
        before
    }

    /// Notes which keys of the configuration in force need a restart.
    pub(crate) fn set_pending_restart(&self, keys: Vec<&'static str>) {
        self.last_reload.lock().pending_restart = keys;
    }

    /// Inspects all services, and forgets those that have been gone for `forget_after`.
    pub(crate) async fn inspect(&self, gate: &Gate, depth: Depth) -> Inventory {
        let inventory = gate.services.inspect(depth).await;
        for service in &inventory.forgotten {
            self.recorder.forget(service);
            info!(%service, "forgotten: its socket was gone for forget_after");
        }
        inventory
    }

    /// Notes what is wrong with newer files. If they restrict access, the restricted gate replaces the
    /// current one, which is returned.
    pub(crate) fn keep(&self, faults: Vec<String>, restricted: Option<Gate>) -> Option<Arc<Gate>> {
        let before = restricted.map(|gate| self.gate.send_replace(Arc::new(gate)));
        self.connections.forget_absent();
        let restricted = self.gate().restrictions().parts();
        self.recorder.metrics.reloads.failed(!restricted.is_empty());
        self.last_reload.lock().fail(faults, restricted);
        before
    }

    /// Notes that files are being read, until the guard is dropped.
    pub(crate) fn reading(&self) -> Reading<'_> {
        self.reading.send_replace(Some(Instant::now()));
        Reading(self)
    }

    /// Watches when a reload began; `None` between reloads.
    pub(crate) fn readings(&self) -> watch::Receiver<Option<Instant>> {
        self.reading.subscribe()
    }

    /// How long reading files has taken so far.
    pub(crate) fn reading_for(&self) -> Duration {
        let begun = *self.reading.borrow();
        begun.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    /// The outcome of the last reload.
    #[must_use]
    pub fn last_reload(&self) -> LastReload {
        self.last_reload.lock().clone()
    }

    /// Requests a reload without waiting for it. A full queue is no problem: one reload serves all.
    pub(crate) fn request_reload(&self) {
        self.reloads.send(None);
    }

    /// Requests a reload, and waits for its outcome.
    pub(crate) async fn reload(&self) -> Reloaded {
        let (waiting, outcome) = oneshot::channel();
        if self.is_draining() {
            return Reloaded::Stopping;
        }
        if !self.reloads.send(Some(waiting)) {
            return Reloaded::TooMany;
        }
        tokio::select! {
            biased;
            outcome = timeout(MAX_RELOAD_WAIT, outcome) => match outcome {
                Ok(Ok(last)) => Reloaded::Done(last),
                Ok(Err(_)) => Reloaded::Stopping,
                Err(_) => Reloaded::Slow,
            },
            () = self.draining() => Reloaded::Stopping,
        }
    }

    /// The first listening address.
    pub(crate) fn address(&self) -> String {
        let first = self.addresses.first();
        first.map(ToString::to_string).unwrap_or_default()
    }

    /// Begins to drain: no new connections, and no new requests except the first of a connection.
    pub fn drain(&self) {
        self.drain.send_replace(true);
    }

    /// Whether draining has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.drain.borrow()
    }

    /// Waits until draining begins.
    pub async fn draining(&self) {
        // The sender lives as long as `self`, so that this ends only when draining begins.
        drop(self.drain.subscribe().wait_for(|draining| *draining).await);
    }
}
