//! The gate: what every request is decided by; and the endpoint that holds it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{Config, Fault, Limits};
use crate::credentials::{Credentials, Expiry, Role, seconds_until};
use crate::forecast;
use crate::log::{self, Sampler};
use crate::metrics::{Format, Metrics, Standing};
use crate::outcomes::Outcomes;
use crate::policy::Policy;
use crate::scrape::{Handshake, NotForgotten, Places, Upstream};
use crate::service::ServiceName;
use crate::view::Shown;

/// The immutable snapshot that a request is decided by.
#[derive(Debug)]
pub struct Gate {
    /// Who may scrape what, from where.
    pub policy: Policy,
    /// How TLS is spoken, and whom it trusts.
    pub handshake: Handshake,
    /// Where the services' sockets are.
    pub upstream: Upstream,
    /// The bound of everything.
    pub limits: Limits,
    /// The address and port by which discovery names aegis, if not that which is asked.
    pub advertise: Option<String>,
    warnings: Vec<String>,
    expiries: Vec<Expiry>,
    vouched_until: i64,
}

impl Gate {
    /// Builds a gate from a configuration and the files that it names. What the gate before it
    /// knows of services goes on.
    ///
    /// # Errors
    /// Every fault of those files.
    pub fn build(config: Config, before: Option<&Self>) -> Result<Self, Vec<Fault>> {
        let upstream = Upstream::open(&config, before.map(|before| &before.upstream));
        let (upstream, credentials) = match (upstream, Credentials::load(&config.tls)) {
            (Ok(upstream), Ok(credentials)) => (upstream, credentials),
            (upstream, credentials) => {
                let mut faults = upstream.err().unwrap_or_default();
                faults.extend(credentials.err().unwrap_or_default());
                return Err(faults);
            }
        };
        let warnings = forecast::of(&config, &credentials, &upstream);
        let expiries = credentials.expiries.clone();
        let vouched_until = credentials.vouched_until;
        let handshake = Handshake::new(credentials, &config.tls, &config.limits)?;
        Ok(Self {
            policy: config.policy,
            handshake,
            upstream,
            limits: config.limits,
            advertise: config.advertise,
            warnings,
            expiries,
            vouched_until,
        })
    }

    /// All that will hurt, by now.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.warnings.iter().cloned().chain(self.expiring())
    }

    /// What has run out, or will before long.
    pub fn expiring(&self) -> impl Iterator<Item = String> {
        self.expiries.iter().filter_map(Expiry::warning)
    }

    /// What runs out some day.
    #[must_use]
    pub fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }

    /// Whether no scraper can believe the server's certificate any more.
    #[must_use]
    pub fn server_has_expired(&self) -> bool {
        let server = self.soonest(Role::Server);
        server.is_some_and(|server| server.left() < 0)
    }

    /// Whether no client CA has a current CRL, so that every scraper is refused.
    #[must_use]
    pub fn vouches_for_nobody(&self) -> bool {
        seconds_until(self.vouched_until) < 0
    }

    /// Whether a CRL has run out, and with it whoever it vouched for.
    pub(crate) fn crl_has_run_out(&self) -> bool {
        self.soonest(Role::Crl).is_some_and(|crl| crl.left() < 0)
    }

    /// When the server's certificate runs out, in seconds since the Unix epoch.
    pub(crate) fn server_not_after(&self) -> Option<i64> {
        self.soonest(Role::Server).map(|server| server.at)
    }

    /// What of a role runs out first.
    fn soonest(&self, role: Role) -> Option<&Expiry> {
        let of_role = self.expiries.iter().filter(|expiry| expiry.role == role);
        of_role.min_by_key(|expiry| expiry.at)
    }
}

/// What all connections share.
#[derive(Debug)]
pub struct Endpoint {
    gate: watch::Sender<Arc<Gate>>,
    pub(crate) places: Arc<Places>,
    pub(crate) metrics: Metrics,
    pub(crate) outcomes: Outcomes,
    pub(crate) sampler: Sampler,
    last_reload: Mutex<LastReload>,
    /// Whoever asks on the admin socket for a reload, and waits for what becomes of it.
    reloads: mpsc::Sender<Waiting>,
    addresses: Vec<SocketAddr>,
    drain: watch::Sender<bool>,
}

/// Whoever waits for a reload is told what was wrong, or nothing.
pub(crate) type Waiting = oneshot::Sender<Vec<String>>;

/// What became of the last reload; the start is the first.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// When the configuration in force was read.
    pub succeeded: SystemTime,
    /// What is wrong with a newer one, which is not in force.
    pub faults: Vec<String>,
}

impl Endpoint {
    /// Makes an endpoint at these addresses that decides by the gate.
    pub(crate) fn new(
        gate: Gate,
        addresses: Vec<SocketAddr>,
        reloads: mpsc::Sender<Waiting>,
    ) -> Self {
        Self {
            gate: watch::Sender::new(Arc::new(gate)),
            places: Arc::default(),
            metrics: Metrics::default(),
            outcomes: Outcomes::default(),
            sampler: Sampler::default(),
            last_reload: Mutex::new(LastReload {
                succeeded: SystemTime::now(),
                faults: Vec::new(),
            }),
            reloads,
            addresses,
            drain: watch::Sender::new(false),
        }
    }

    /// The gate that decides now.
    #[must_use]
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate.borrow())
    }

    /// The gates from now on: a connection is judged again when there is another one.
    pub(crate) fn gates(&self) -> watch::Receiver<Arc<Gate>> {
        self.gate.subscribe()
    }

    /// Decides by another gate from now on, open connections included.
    pub(crate) fn replace(&self, gate: Gate) {
        self.gate.send_replace(Arc::new(gate));
        self.metrics.reloaded();
        let mut last = self.lock_last_reload();
        last.succeeded = SystemTime::now();
        last.faults.clear();
    }

    /// Keeps the gate, and notes what is wrong with what was to take its place.
    pub(crate) fn keep(&self, faults: Vec<String>) {
        self.metrics.reload_failed();
        self.lock_last_reload().faults = faults;
    }

    /// What became of the last reload.
    #[must_use]
    pub fn last_reload(&self) -> LastReload {
        self.lock_last_reload().clone()
    }

    fn lock_last_reload(&self) -> MutexGuard<'_, LastReload> {
        let last = self.last_reload.lock();
        last.unwrap_or_else(|held| held.into_inner())
    }

    /// Asks for a reload, and says what was wrong; `None` if too many wait for one already.
    pub(crate) async fn reload(&self) -> Option<Vec<String>> {
        let (waiting, told) = oneshot::channel();
        self.reloads.try_send(waiting).ok()?;
        told.await.ok()
    }

    /// Aegis's own metrics.
    pub(crate) fn own_metrics(&self, accept: Option<&str>) -> Shown {
        let gate = self.gate();
        let soonest = |role| gate.soonest(role).map(|expiry| expiry.at);
        let standing = Standing {
            services: gate.upstream.with_socket(),
            services_are_cut: gate.upstream.is_cut(),
            most_connections: gate.limits.connections,
            server_not_after: soonest(Role::Server),
            client_ca_not_after: soonest(Role::ClientCa),
            crl_next_update: soonest(Role::Crl),
            lost_lines: log::lost(),
        };
        let format = Format::for_accept(accept);
        Shown {
            status: 200,
            content_type: format.content_type(),
            browsers: None,
            text: self.metrics.text(&standing, format),
        }
    }

    /// Forgets a service that vanished, with its metrics.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn forget(&self, service: &ServiceName) -> Result<(), NotForgotten> {
        let forgotten = self.gate().upstream.forget(service);
        let had_outcomes = self.outcomes.forget(service);
        self.metrics.forget(service);
        match forgotten {
            // It was one of too many to be listed.
            Err(NotForgotten::Unknown) if had_outcomes => Ok(()),
            forgotten => forgotten,
        }
    }

    /// The first address that is listened on.
    pub(crate) fn address(&self) -> String {
        let first = self.addresses.first();
        first.map(ToString::to_string).unwrap_or_default()
    }

    /// Begins to drain: no new connections, and no new requests but of whoever has just come.
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
        // The sender lives as long as `self`, so that waiting ends only when it has begun.
        drop(self.drain.subscribe().wait_for(|draining| *draining).await);
    }
}
