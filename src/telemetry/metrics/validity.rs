//! From when to when the certificates of each role are valid.

use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::ByRole;

/// Both times in seconds since the Unix epoch. Ordered by expiry: the derived order compares it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Validity {
    /// When it expires.
    pub not_after: i64,
    /// When it became valid.
    pub not_before: i64,
}

/// The validity of the certificate of each role that expires first.
#[derive(Debug, Default)]
pub(super) struct Validities {
    not_before: Family<ByRole, Gauge<i64, AtomicI64>>,
    not_after: Family<ByRole, Gauge<i64, AtomicI64>>,
}

impl Validities {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "tls_certificate_not_before_timestamp_seconds",
            "When the certificate of a role that expires first became valid, in seconds since the Unix epoch",
            self.not_before.clone(),
        );
        registry.register(
            "tls_certificate_not_after_timestamp_seconds",
            "When the first certificate of a role expires, in seconds since the Unix epoch; for clients, of those connected",
            self.not_after.clone(),
        );
    }

    pub(super) fn set(&self, role: &ByRole, validity: Option<Validity>) {
        if let Some(validity) = validity {
            let Validity {
                not_before,
                not_after,
            } = validity;
            self.not_before.get_or_create(role).set(not_before);
            self.not_after.get_or_create(role).set(not_after);
        } else {
            // Without a time there is no series: 0 would mean 1970.
            self.not_before.remove(role);
            self.not_after.remove(role);
        }
    }
}
