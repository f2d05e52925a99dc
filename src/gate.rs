//! The gate: what every request is decided by; and the endpoint that holds it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Config, Fault, Limits};
use crate::credentials::{Credentials, Expiry};
use crate::forecast;
use crate::log::Sampler;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::scrape::{Handshake, Places, Upstream};

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
    warnings: Vec<String>,
    expiries: Vec<Expiry>,
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
        let handshake = Handshake::new(credentials, &config.tls, &config.limits)?;
        Ok(Self {
            policy: config.policy,
            handshake,
            upstream,
            limits: config.limits,
            warnings,
            expiries,
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
}

/// What all connections share.
#[derive(Debug)]
pub struct Endpoint {
    gate: watch::Sender<Arc<Gate>>,
    pub(crate) places: Arc<Places>,
    pub(crate) metrics: Metrics,
    pub(crate) sampler: Sampler,
    drain: watch::Sender<bool>,
}

impl Endpoint {
    /// Makes an endpoint that decides by the gate.
    #[must_use]
    pub fn new(gate: Gate) -> Self {
        Self {
            gate: watch::Sender::new(Arc::new(gate)),
            places: Arc::default(),
            metrics: Metrics::default(),
            sampler: Sampler::default(),
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
    pub fn replace(&self, gate: Gate) {
        self.gate.send_replace(Arc::new(gate));
    }

    /// Begins to drain: no new connections, no new requests.
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
