//! Aegis's own metrics. Labels come only from enums and from services that are there.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::refusal::Refusal;
use crate::service::ServiceName;

/// Counts what happens, for `GET /metrics`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections: Gauge<i64, AtomicI64>,
    accepted: Counter,
    handshakes: Histogram,
    panics: Counter,
    reload_succeeded: Gauge<i64, AtomicI64>,
    reload_time: Gauge<f64, AtomicU64>,
    refused_connections: Family<ByReason, Counter>,
    refused_requests: Family<ByReason, Counter>,
    scrapes: Family<ByService, Counter>,
    failures: Family<ByServiceAndReason, Counter>,
    durations: Family<ByService, Histogram, fn() -> Histogram>,
    bytes: Family<ByService, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("aegis"),
            connections: Gauge::default(),
            accepted: Counter::default(),
            handshakes: seconds(),
            panics: Counter::default(),
            reload_succeeded: Gauge::default(),
            reload_time: Gauge::default(),
            refused_connections: Family::default(),
            refused_requests: Family::default(),
            scrapes: Family::default(),
            failures: Family::default(),
            durations: Family::new_with_constructor(seconds),
            bytes: Family::default(),
        };
        metrics.register();
        metrics.register_reloads();
        metrics.reloaded();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&THIS_BUILD).set(1);
        registry.register("build_info", "The version of aegis", build);
        registry.register(
            "connections",
            "Connections that are open",
            self.connections.clone(),
        );
        registry.register(
            "connections_accepted",
            "Connections whose address was admitted",
            self.accepted.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed before their scraper had proved who it is",
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
            "panics",
            "Tasks that ended in a panic: a bug of aegis",
            self.panics.clone(),
        );
    }

    fn register_reloads(&mut self) {
        let registry = &mut self.registry;
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
    }

    /// The metrics as text, and its content type.
    #[must_use]
    pub fn text(&self) -> (&'static str, String) {
        let mut text = String::new();
        // Writing to a string cannot fail; a text without its end would be refused as cut off.
        let written = encode(&mut text, &self.registry);
        debug_assert!(written.is_ok());
        (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            text,
        )
    }

    /// Counts a connection as open for as long as the guard lives.
    #[must_use]
    pub fn open_connection(&self) -> OpenConnection {
        self.accepted.inc();
        self.connections.inc();
        OpenConnection(self.connections.clone())
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

/// From a quick scrape on a local socket to the longest default timeout.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

const THIS_BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    stage: &'static str,
    reason: &'static str,
}

impl From<Refusal> for ByReason {
    fn from(refusal: Refusal) -> Self {
        Self {
            stage: refusal.stage().name(),
            reason: refusal.reason(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByService {
    service: Service,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByServiceAndReason {
    service: Service,
    stage: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Service(ServiceName);

impl EncodeLabelValue for Service {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.as_str().encode(encoder)
    }
}
