//! aegis's own metrics. Label values are enums and names of known services only.

mod clients;
mod exposition;
mod labels;
mod next_update;
mod process;
mod reloads;
mod validity;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Stage};
use clients::Clients;
pub(crate) use clients::ConnectedClient;
pub use exposition::ExpositionFormat;
use labels::{
    Build, ByKind, ByReason, ByRole, ByService, ByServiceAndReason, CertificateRole, Service,
    THIS_BUILD,
};
use next_update::NextUpdate;
use process::Process;
use reloads::Reloads;
use validity::Validities;
pub use validity::Validity;

/// Counts what happens, for `GET /metrics`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections: Gauge<i64, AtomicI64>,
    accepted: Counter,
    handshakes: Histogram,
    clients: Clients,
    panics: Counter,
    lost_lines: Counter,
    pub(crate) reloads: Reloads,
    refused_connections: Family<ByReason, Counter>,
    refused_requests: Family<ByReason, Counter>,
    scrapes: Family<ByService, Counter>,
    failures: Family<ByServiceAndReason, Counter>,
    durations: Family<ByService, Histogram, fn() -> Histogram>,
    bytes: Family<ByService, Counter>,
    services: Gauge<i64, AtomicI64>,
    services_are_truncated: Gauge<i64, AtomicI64>,
    max_connections: Gauge<i64, AtomicI64>,
    validities: Validities,
    next_update: NextUpdate,
    sandbox: Family<ByKind, Gauge<i64, AtomicI64>>,
}

/// Whether a layer of the sandbox is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerState {
    Active,
    Inactive,
}

/// Values that are read when the metrics are scraped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Services that have a socket.
    pub services: usize,
    /// Whether there are more than aegis lists.
    pub services_are_truncated: bool,
    /// The maximum number of open connections.
    pub max_connections: usize,
    /// The validity of the server's certificate.
    pub server: Option<Validity>,
    /// The validity of the client CA that expires first.
    pub client_ca: Option<Validity>,
    /// When the first CRL expires, in seconds since the Unix epoch.
    pub crl_next_update: Option<i64>,
    /// Log lines that were dropped.
    pub lost_lines: u64,
    /// How long the current reload has been reading files.
    pub reading_for: Duration,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            connections: Gauge::default(),
            accepted: Counter::default(),
            handshakes: seconds(),
            clients: Clients::default(),
            panics: Counter::default(),
            lost_lines: Counter::default(),
            reloads: Reloads::default(),
            refused_connections: Family::default(),
            refused_requests: Family::default(),
            scrapes: Family::default(),
            failures: Family::default(),
            durations: Family::new_with_constructor(seconds),
            bytes: Family::default(),
            services: Gauge::default(),
            services_are_truncated: Gauge::default(),
            max_connections: Gauge::default(),
            validities: Validities::default(),
            next_update: NextUpdate::default(),
            sandbox: Family::default(),
        };
        let mut registry = Registry::default();
        metrics.register_connections(registry.sub_registry_with_prefix("aegis"));
        metrics.register_scrapes(registry.sub_registry_with_prefix("aegis"));
        metrics.register_state(registry.sub_registry_with_prefix("aegis"));
        let process = registry.sub_registry_with_prefix("process");
        process.register_collector(Box::new(Process::started_now()));
        metrics.registry = registry;
        metrics.initialize_reasons();
        metrics.reloads.succeeded();
        metrics
    }
}

impl Metrics {
    fn register_connections(&self, registry: &mut Registry) {
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register(
            "connections_max",
            "Maximum number of open connections: limits.connections",
            self.max_connections.clone(),
        );
        registry.register(
            "connections_accepted",
            "Connections from admitted addresses",
            self.accepted.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed before the scraper authenticated, or because it is no longer admitted",
            self.refused_connections.clone(),
        );
        registry.register(
            "requests_refused",
            "Requests from authenticated scrapers rejected before a service was contacted",
            self.refused_requests.clone(),
        );
        registry.register_with_unit(
            "tls_handshake_duration",
            "Time from accept to the end of successful TLS handshakes",
            Unit::Seconds,
            self.handshakes.clone(),
        );
    }

    fn register_scrapes(&self, registry: &mut Registry) {
        registry.register("scrapes", "Scrapes that were granted", self.scrapes.clone());
        registry.register(
            "scrape_failures",
            "Scrapes that were granted and failed",
            self.failures.clone(),
        );
        registry.register_with_unit(
            "scrape_duration",
            "Time from the head of a request to the end of its response",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register_with_unit(
            "scrape_response",
            "Body bytes of successful scrapes, as the services sent them",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "services",
            "Services that have a socket now",
            self.services.clone(),
        );
        registry.register(
            "service_list_truncated",
            "1 if the socket directory holds more than aegis lists, so that discovery is incomplete",
            self.services_are_truncated.clone(),
        );
    }

    fn register_state(&self, registry: &mut Registry) {
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&THIS_BUILD).set(1);
        registry.register("build_info", "The version of aegis", build);
        self.validities.register(registry);
        registry.register_collector(Box::new(self.next_update.clone()));
        registry.register(
            "sandbox_active",
            "1 for each active layer of the sandbox, 0 for each inactive one",
            self.sandbox.clone(),
        );
        self.reloads.register(registry);
        registry.register(
            "panics",
            "Tasks that panicked, which is a bug in aegis",
            self.panics.clone(),
        );
        registry.register(
            "log_lines_lost",
            "Log lines dropped because standard error was not being read",
            self.lost_lines.clone(),
        );
    }

    /// Starts every reason at 0: `increase()` does not count a series that starts at 1.
    fn initialize_reasons(&self) {
        for refusal in Refusal::ALL {
            let family = match refusal.stage() {
                Stage::Admit | Stage::Handshake => &self.refused_connections,
                Stage::Route | Stage::Authorize => &self.refused_requests,
                // These have the label service, and no service is known yet.
                Stage::Upstream | Stage::Respond => continue,
            };
            drop(family.get_or_create(&(*refusal).into()));
        }
        // A reload can remove the grant of a scrape in flight, which closes its connection.
        let not_granted = Refusal::NotGranted.into();
        drop(self.refused_connections.get_or_create(&not_granted));
    }

    /// The metrics as text.
    #[must_use]
    pub fn text(&self, snapshot: &Snapshot, format: ExpositionFormat) -> String {
        self.services.set(count(snapshot.services));
        self.services_are_truncated
            .set(snapshot.services_are_truncated.into());
        self.max_connections.set(count(snapshot.max_connections));
        self.reloads.reading_for(snapshot.reading_for);
        let lost_lines = self.lost_lines.inner();
        lost_lines.store(snapshot.lost_lines, Ordering::Relaxed);
        let roles = [
            (CertificateRole::Server, snapshot.server),
            (CertificateRole::ClientCa, snapshot.client_ca),
            (CertificateRole::Client, self.clients.soonest()),
        ];
        for (role, validity) in roles {
            self.validities.set(&ByRole { role }, validity);
        }
        self.next_update.set(snapshot.crl_next_update);
        format.render(&self.registry)
    }

    /// Forgets a service, until it is scraped again.
    pub(crate) fn forget(&self, service: &ServiceName) {
        let by_service = ByService {
            service: Service(service.clone()),
        };
        self.scrapes.remove(&by_service);
        self.durations.remove(&by_service);
        self.bytes.remove(&by_service);
        for refusal in Refusal::ALL {
            let ByReason { stage, reason } = (*refusal).into();
            let Service(service) = by_service.service.clone();
            self.failures.remove(&ByServiceAndReason {
                service: Service(service),
                stage,
                reason,
            });
        }
    }

    /// Counts the certificate of a scraper for as long as it is connected.
    pub(crate) fn client_connected(&self, validity: Validity) -> ConnectedClient {
        self.clients.connected(validity)
    }

    /// Counts a connection as open for as long as the guard lives.
    #[must_use]
    pub fn open_connection(&self) -> OpenConnection {
        self.accepted.inc();
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// The number of open connections.
    pub(crate) fn open_connections(&self) -> i64 {
        self.connections.get()
    }

    pub(crate) fn connection_refused(&self, refusal: Refusal) {
        self.refused_connections
            .get_or_create(&refusal.into())
            .inc();
    }

    pub(crate) fn request_refused(&self, refusal: Refusal) {
        self.refused_requests.get_or_create(&refusal.into()).inc();
    }

    /// How many connections and requests were refused, for each refusal that happened.
    pub(crate) fn refusals(&self) -> Vec<(Refusal, u64)> {
        let mut counted: Vec<(Refusal, u64)> = Vec::new();
        for refusal in Refusal::ALL {
            let by_reason = ByReason::from(*refusal);
            let of = |family: &Family<ByReason, Counter>| {
                family.get(&by_reason).map_or(0, |counter| counter.get())
            };
            let count = of(&self.refused_connections) + of(&self.refused_requests);
            // Two refusals can have the same stage and reason, and then they have one counter.
            let is_new = counted
                .iter()
                .all(|(other, _)| ByReason::from(*other) != by_reason);
            if count > 0 && is_new {
                counted.push((*refusal, count));
            }
        }
        counted
    }

    pub(crate) fn handshake_done(&self, duration: Duration) {
        self.handshakes.observe(duration.as_secs_f64());
    }

    pub(crate) fn scraped(&self, service: &ServiceName, duration: Duration, bytes: u64) {
        let by_service = self.ended(service, duration);
        self.bytes.get_or_create(&by_service).inc_by(bytes);
    }

    pub(crate) fn failed(&self, service: &ServiceName, refusal: Refusal, duration: Duration) {
        let ByService { service } = self.ended(service, duration);
        let ByReason { stage, reason } = refusal.into();
        let by_all = ByServiceAndReason {
            service,
            stage,
            reason,
        };
        self.failures.get_or_create(&by_all).inc();
    }

    pub(crate) fn sandbox(&self, kind: &'static str, state: LayerState) {
        let value = match state {
            LayerState::Active => 1,
            LayerState::Inactive => 0,
        };
        self.sandbox.get_or_create(&ByKind { kind }).set(value);
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    fn ended(&self, service: &ServiceName, duration: Duration) -> ByService {
        let by_service = ByService {
            service: Service(service.clone()),
        };
        self.scrapes.get_or_create(&by_service).inc();
        let durations = self.durations.get_or_create(&by_service);
        durations.observe(duration.as_secs_f64());
        drop(durations);
        by_service
    }
}

/// An open connection, counted until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Gauge<i64, AtomicI64>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn count(things: usize) -> i64 {
    i64::try_from(things).unwrap_or(i64::MAX)
}

/// From a fast scrape of a local socket to the longest default timeout.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0])
}
