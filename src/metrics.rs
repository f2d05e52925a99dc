//! Aegis's own metrics. Labels come only from enums and from services that are there.

mod clients;
mod exposition;
mod labels;
mod next_update;
mod process;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::refusal::{Refusal, Stage};
use crate::service::ServiceName;
use clients::Clients;
pub(crate) use clients::ConnectedClient;
pub use exposition::Format;
use labels::{
    Build, ByKind, ByReason, ByRole, ByService, ByServiceAndReason, Role, Service, THIS_BUILD,
};
use next_update::NextUpdate;
use process::Process;

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
    reload_succeeded: Gauge<i64, AtomicI64>,
    reload_time: Gauge<f64, AtomicU64>,
    refused_connections: Family<ByReason, Counter>,
    refused_requests: Family<ByReason, Counter>,
    scrapes: Family<ByService, Counter>,
    failures: Family<ByServiceAndReason, Counter>,
    durations: Family<ByService, Histogram, fn() -> Histogram>,
    bytes: Family<ByService, Counter>,
    services: Gauge<i64, AtomicI64>,
    services_are_cut: Gauge<i64, AtomicI64>,
    most_connections: Gauge<i64, AtomicI64>,
    not_after: Family<ByRole, Gauge<i64, AtomicI64>>,
    next_update: NextUpdate,
    sandbox: Family<ByKind, Gauge<i64, AtomicI64>>,
}

/// Whether a wall of the sandbox stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    Yes,
    No,
}

/// What is so at the moment that metrics are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Services that have a socket.
    pub services: usize,
    /// Whether there are more than are listed.
    pub services_are_cut: bool,
    /// The most connections that may be open.
    pub most_connections: usize,
    /// When the server's certificate runs out, in seconds since the Unix epoch.
    pub server_not_after: Option<i64>,
    /// When the first client CA runs out.
    pub client_ca_not_after: Option<i64>,
    /// When the first CRL runs out.
    pub crl_next_update: Option<i64>,
    /// Log lines that nobody took.
    pub lost_lines: u64,
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
            reload_succeeded: Gauge::default(),
            reload_time: Gauge::default(),
            refused_connections: Family::default(),
            refused_requests: Family::default(),
            scrapes: Family::default(),
            failures: Family::default(),
            durations: Family::new_with_constructor(seconds),
            bytes: Family::default(),
            services: Gauge::default(),
            services_are_cut: Gauge::default(),
            most_connections: Gauge::default(),
            not_after: Family::default(),
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
        metrics.begin_at_zero();
        metrics.reloaded();
        metrics
    }
}

impl Metrics {
    fn register_connections(&self, registry: &mut Registry) {
        registry.register(
            "connections",
            "Connections that are open",
            self.connections.clone(),
        );
        registry.register(
            "connections_max",
            "Connections that may be open at once: limits.connections",
            self.most_connections.clone(),
        );
        registry.register(
            "connections_accepted",
            "Connections whose address was admitted",
            self.accepted.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed before their scraper had proved who it is, or when it was admitted no longer",
            self.refused_connections.clone(),
        );
        registry.register(
            "requests_refused",
            "Requests of known scrapers that named no service they may scrape",
            self.refused_requests.clone(),
        );
        registry.register_with_unit(
            "tls_handshake_duration",
            "From accept to the end of good handshakes",
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
            "From a request's head to the end of its answer",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register_with_unit(
            "scrape_response",
            "Bytes of bodies of whole scrapes, as services sent them",
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
            "1 if the socket directory holds more than aegis lists, so that discovery is not complete",
            self.services_are_cut.clone(),
        );
    }

    fn register_state(&self, registry: &mut Registry) {
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&THIS_BUILD).set(1);
        registry.register("build_info", "The version of aegis", build);
        registry.register(
            "tls_certificate_not_after_timestamp_seconds",
            "When the first certificate of a role runs out, in seconds since the Unix epoch; of clients, those that are connected",
            self.not_after.clone(),
        );
        registry.register_collector(Box::new(self.next_update.clone()));
        registry.register(
            "sandbox_active",
            "1 for each wall of the sandbox that the kernel has put up, 0 for each that it has not",
            self.sandbox.clone(),
        );
        registry.register(
            "config_last_reload_successful",
            "1 if the configuration could be read the last time, 0 if an older one is in force",
            self.reload_succeeded.clone(),
        );
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in force was read, in seconds since the Unix epoch",
            self.reload_time.clone(),
        );
        registry.register(
            "panics",
            "Tasks that ended in a panic: a bug of aegis",
            self.panics.clone(),
        );
        registry.register(
            "log_lines_lost",
            "Log lines that nobody took from standard error",
            self.lost_lines.clone(),
        );
    }

    /// Begins every reason at 0: to `increase()`, a series that begins at 1 has not increased.
    fn begin_at_zero(&self) {
        for refusal in Refusal::ALL {
            let family = match refusal.stage() {
                Stage::Admit | Stage::Handshake => &self.refused_connections,
                Stage::Route | Stage::Authorize => &self.refused_requests,
                // Of services, and those are not known yet.
                Stage::Upstream | Stage::Respond => continue,
            };
            drop(family.get_or_create(&(*refusal).into()));
        }
        // By a reload, a scrape in flight can lose what grants it, and its connection with it.
        let not_granted = Refusal::NotGranted.into();
        drop(self.refused_connections.get_or_create(&not_granted));
    }

    /// The metrics as text.
    #[must_use]
    pub fn text(&self, standing: &Standing, format: Format) -> String {
        self.services.set(count(standing.services));
        self.services_are_cut.set(standing.services_are_cut.into());
        self.most_connections.set(count(standing.most_connections));
        let lost_lines = self.lost_lines.inner();
        lost_lines.store(standing.lost_lines, Ordering::Relaxed);
        let roles = [
            (Role::Server, standing.server_not_after),
            (Role::ClientCa, standing.client_ca_not_after),
            (Role::Client, self.clients.soonest()),
        ];
        for (role, not_after) in roles {
            match not_after {
                Some(time) => {
                    self.not_after.get_or_create(&ByRole { role }).set(time);
                }
                // A time that is not there has no series: 0 would be a time long ago.
                None => {
                    self.not_after.remove(&ByRole { role });
                }
            }
        }
        self.next_update.set(standing.crl_next_update);
        format.written(&self.registry)
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
    pub(crate) fn client_connected(&self, not_after: i64) -> ConnectedClient {
        self.clients.connected(not_after)
    }

    /// Counts a connection as open for as long as the guard lives.
    #[must_use]
    pub fn open_connection(&self) -> OpenConnection {
        self.accepted.inc();
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// How many connections are open.
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

    pub(crate) fn reloaded(&self) {
        self.reload_succeeded.set(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.reload_time.set(now.unwrap_or_default().as_secs_f64());
    }

    pub(crate) fn reload_failed(&self) {
        self.reload_succeeded.set(0);
    }

    pub(crate) fn sandbox(&self, kind: &'static str, stands: Stands) {
        let value = match stands {
            Stands::Yes => 1,
            Stands::No => 0,
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

/// From a quick scrape on a local socket to the longest default timeout.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0])
}
