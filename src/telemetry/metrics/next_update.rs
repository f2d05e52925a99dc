//! When the first CRL expires: a metric that exists only if there is a CRL.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// A time in seconds since the Unix epoch. Without one there is no metric: 0 would mean 1970.
#[derive(Clone, Debug, Default)]
pub(super) struct NextUpdate(Arc<Mutex<Option<i64>>>);

impl NextUpdate {
    pub(super) fn set(&self, next_update: Option<i64>) {
        *self.0.lock() = next_update;
    }
}

impl Collector for NextUpdate {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let next_update = *self.0.lock();
        let Some(next_update) = next_update else {
            return Ok(());
        };
        let metric = encoder.encode_descriptor(
            "tls_crl_next_update_timestamp_seconds",
            "When the first CRL expires, in seconds since the Unix epoch.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(next_update).encode(metric)
    }
}
