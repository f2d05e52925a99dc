//! The content of the status page, for HTML and JSON.

use std::path::PathBuf;

use serde_json::Value;

use super::Audience;
use crate::gate::Gate;
use crate::policy::service_name::ServiceName;
use crate::refusal::Refusal;
use crate::services::Inventory;
use crate::state::{LastReload, State as Shared};
use crate::telemetry::last_scrapes::{Failure, LastScrape, Recent};
use crate::text::json::object;
use crate::text::time::{rfc3339, rfc3339_of};
use crate::tls::credentials::Expiry;

/// Everything that one audience may see.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) recipient: Recipient,
    pub(super) services: Vec<ServiceStatus>,
    pub(super) expiries: Vec<Expiry>,
    pub(super) reload: LastReload,
    /// Whether the last reload failed. Only operators see the reason, in `reload`.
    pub(super) reload_failed: bool,
    /// Why no scrape can succeed, if so.
    pub(super) not_ready: Option<&'static str>,
}

/// The recipient, as the page shows it.
#[derive(Debug)]
pub(super) enum Recipient {
    Scraper {
        identity: String,
        address: String,
        /// In seconds since the Unix epoch.
        not_after: i64,
        /// The entries that admit it.
        entries: Vec<String>,
    },
    Operator,
}

/// One service.
#[derive(Debug)]
pub(super) struct ServiceStatus {
    pub(super) service: ServiceName,
    pub(super) socket: PathBuf,
    pub(super) state: State,
    pub(super) last: Option<LastScrape>,
    pub(super) failure: Option<Failure>,
}

/// The state of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its last scrape succeeded.
    Up,
    /// Its last scrape failed, or the next one would.
    Failing(Refusal),
    /// It can be scraped, but was not yet.
    NotScraped,
    /// Its socket was missing and is back, and it was not scraped since.
    Returned,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Failing(_) => "failing",
            Self::NotScraped => "not scraped yet",
            Self::Returned => "returned",
        }
    }

    /// Its order in the list: failing first, up last.
    pub(super) fn urgency(self) -> u8 {
        match self {
            Self::Failing(_) => 0,
            Self::Returned => 1,
            Self::NotScraped => 2,
            Self::Up => 3,
        }
    }
}

/// Collects what one audience may see.
pub(super) fn of(
    audience: &Audience<'_>,
    gate: &Gate,
    state: &Shared,
    inventory: &Inventory,
) -> Status {
    let last = state.last_reload();
    let reload_failed = !last.faults.is_empty();
    let (recipient, faults) = match audience {
        Audience::Scraper { peer, identity, .. } => {
            let recipient = Recipient::Scraper {
                identity: identity.shown(),
                address: peer.address().to_string(),
                not_after: identity.not_after(),
                entries: gate.policy.admitting(peer, identity),
            };
            // Faults can name services that this scraper may not see.
            (recipient, Vec::new())
        }
        Audience::Operator => (Recipient::Operator, last.faults),
    };
    let services = audience.services(gate, inventory);
    Status {
        recipient,
        services: services
            .map(|service| {
                let problem = inventory.problem(&service);
                let status = service_status(service, problem, audience, state);
                let socket = gate.services.socket_of(&status.service);
                ServiceStatus { socket, ..status }
            })
            .collect(),
        expiries: gate.expiries().to_vec(),
        reload: LastReload { faults, ..last },
        reload_failed,
        not_ready: super::not_ready(gate, state, inventory),
    }
}

fn service_status(
    service: ServiceName,
    problem: Option<Refusal>,
    audience: &Audience<'_>,
    state: &Shared,
) -> ServiceStatus {
    let Recent {
        last, mut failure, ..
    } = state.recorder.last_scrapes.of(&service);
    if let (Audience::Scraper { .. }, Some(failure)) = (audience, &mut failure) {
        failure.detail = None;
    }
    let state = match (problem, last) {
        (Some(refusal), _) => State::Failing(refusal),
        (None, None) => State::NotScraped,
        (None, Some(last)) => match last.outcome {
            Ok(_) => State::Up,
            Err(Refusal::Missing | Refusal::UnknownService) => State::Returned,
            Err(refusal) => State::Failing(refusal),
        },
    };
    ServiceStatus {
        socket: PathBuf::new(),
        service,
        state,
        last,
        failure,
    }
}

impl Status {
    pub(super) fn json(&self) -> Value {
        let recipient = match &self.recipient {
            Recipient::Scraper {
                identity,
                address,
                not_after,
                entries,
            } => object(vec![
                ("identity", identity.clone().into()),
                ("address", address.clone().into()),
                ("certificate_not_after", rfc3339(*not_after).into()),
                ("admitted_by", entries.clone().into()),
            ]),
            Recipient::Operator => object(vec![("operator", true.into())]),
        };
        let services: Vec<Value> = self.services.iter().map(ServiceStatus::json).collect();
        let expiries = self.expiries.iter().map(|expiry| {
            object(vec![
                ("what", expiry.what.clone().into()),
                ("not_after", rfc3339(expiry.at).into()),
                ("warning", expiry.warning().into()),
            ])
        });
        let configuration = object(vec![
            ("in_force_since", rfc3339_of(self.reload.succeeded).into()),
            ("last_reload_successful", (!self.reload_failed).into()),
            ("restricted", self.reload.restricted.clone().into()),
            ("faults", self.reload.faults.clone().into()),
        ]);
        object(vec![
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("you", recipient),
            ("not_ready", self.not_ready.into()),
            ("services", services.into()),
            ("expiries", expiries.collect()),
            ("configuration", configuration),
        ])
    }
}

impl ServiceStatus {
    pub(super) fn fails(&self) -> bool {
        matches!(self.state, State::Failing(_))
    }

    fn json(&self) -> Value {
        let last = self.last.map(|last| {
            object(vec![
                ("at", rfc3339_of(last.at).into()),
                ("seconds", last.duration.as_secs_f64().into()),
                ("bytes", last.outcome.ok().into()),
                ("successful", last.outcome.is_ok().into()),
            ])
        });
        let failure = self.failure.as_ref().map(|failure| {
            let at = rfc3339_of(failure.at);
            let mut shown = refusal(failure.refusal);
            if let Some(shown) = shown.as_object_mut() {
                shown.insert("at".to_owned(), at.into());
                shown.insert("detail".to_owned(), failure.detail.clone().into());
            }
            shown
        });
        let problem = match self.state {
            State::Failing(problem) => refusal(problem),
            State::Up | State::NotScraped | State::Returned => Value::Null,
        };
        object(vec![
            ("name", self.service.as_str().into()),
            ("path", format!("/{}", self.service).into()),
            ("socket", self.socket.display().to_string().into()),
            ("state", self.state.word().into()),
            ("problem", problem),
            ("last_scrape", last.into()),
            ("last_failure", failure.into()),
        ])
    }
}

fn refusal(refusal: Refusal) -> Value {
    object(vec![
        ("stage", refusal.stage().name().into()),
        ("reason", refusal.reason().into()),
        ("what", refusal.sentence().into()),
        ("remedy", refusal.remedy().into()),
    ])
}
