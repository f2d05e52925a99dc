//! The metrics of the last reload and the current one.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The gauges of reloads.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    successful: Gauge<i64, AtomicI64>,
    time: Gauge<f64, AtomicU64>,
    restricted: Gauge<i64, AtomicI64>,
    reading: Gauge<f64, AtomicU64>,
    polling: Gauge<i64, AtomicI64>,
}

impl Reloads {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "config_last_reload_successful",
            "1 if the last reload succeeded, 0 if an older configuration is in force",
            self.successful.clone(),
        );
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in force was loaded, in seconds since the Unix epoch",
            self.time.clone(),
        );
        registry.register(
            "config_restricted",
            "1 while a newer configuration is partly invalid and the restrictions of its valid parts are in force",
            self.restricted.clone(),
        );
        registry.register(
            "config_reading_seconds",
            "How long the current reload has been reading files; 0 between reloads",
            self.reading.clone(),
        );
        registry.register(
            "config_polling",
            "1 while files are checked every 500 ms, because not all of them can be watched; 0 while they are watched",
            self.polling.clone(),
        );
    }

    /// Records a successful reload.
    pub(crate) fn succeeded(&self) {
        self.successful.set(1);
        self.restricted.set(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.time.set(now.unwrap_or_default().as_secs_f64());
    }

    /// Records a failed reload, and whether its valid parts restrict anything.
    pub(crate) fn failed(&self, is_restricted: bool) {
        self.successful.set(0);
        self.restricted.set(is_restricted.into());
    }

    /// Records whether files are polled.
    pub(crate) fn polling(&self, is_polling: bool) {
        self.polling.set(is_polling.into());
    }

    pub(super) fn reading_for(&self, duration: Duration) {
        self.reading.set(duration.as_secs_f64());
    }
}
