//! The labels of the metrics: enums, and the names of services.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::policy::service_name::ServiceName;
use crate::refusal::Refusal;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    version: &'static str,
}

pub(super) const THIS_BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByReason {
    pub(super) stage: &'static str,
    pub(super) reason: &'static str,
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
pub(super) struct ByService {
    pub(super) service: Service,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByServiceAndReason {
    pub(super) service: Service,
    pub(super) stage: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Service(pub(super) ServiceName);

impl EncodeLabelValue for Service {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.as_str().encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByKind {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByRole {
    pub(super) role: CertificateRole,
}

/// The role of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CertificateRole {
    Server,
    ClientCa,
    Client,
}

impl EncodeLabelValue for CertificateRole {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Server => "server",
            Self::ClientCa => "client_ca",
            Self::Client => "client",
        }
        .encode(encoder)
    }
}
