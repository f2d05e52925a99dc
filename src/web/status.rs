//! The content of the status page, for HTML and JSON.

mod json;

use std::path::PathBuf;
use std::time::SystemTime;

use super::Audience;
use crate::gate::Gate;
use crate::policy::service_name::ServiceName;
use crate::refusal::Refusal;
use crate::services::{Inventory, Retention};
use crate::state::{ConnectionUse, LastReload, SandboxLayer, State as Shared};
use crate::telemetry::last_scrapes::Recent;
use crate::telemetry::log;
use crate::text::host_name::HostName;
use crate::tls::credentials::Expiry;

/// Everything that one audience may see.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) host: HostName,
    pub(super) recipient: Recipient,
    /// What only operators see.
    pub(super) process: Option<ProcessStatus>,
    /// Whether the recipient may scrape aegis's own metrics.
    pub(super) may_scrape_aegis: bool,
    pub(super) services: Vec<ServiceStatus>,
    pub(super) expiries: Vec<Expiry>,
    pub(super) reload: LastReload,
    /// Whether the last reload failed. Only operators see the reason, in `reload`.
    pub(super) reload_failed: bool,
    /// Why no scrape can succeed, if so.
    pub(super) not_ready: Option<&'static str>,
    /// Whether the socket directory holds more than aegis lists.
    pub(super) is_truncated: bool,
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
    pub(super) recent: Recent,
    /// If its socket is gone: how long it stays listed.
    pub(super) retention: Option<Retention>,
}

/// aegis itself, for operators.
#[derive(Debug)]
pub(super) struct ProcessStatus {
    /// How many connections and requests were refused, by their reason.
    pub(super) refusals: Vec<(Refusal, u64)>,
    pub(super) connections: ConnectionUse,
    pub(super) max_connections: usize,
    pub(super) max_connections_per_address: usize,
    pub(super) sandbox: Vec<SandboxLayer>,
    pub(super) socket_dir: PathBuf,
    /// Log lines that were dropped since aegis started.
    pub(super) lost_lines: u64,
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
    /// The state of a service with this problem now, if any.
    fn of(problem: Option<Refusal>, recent: &Recent) -> Self {
        match (problem, recent.last) {
            (Some(refusal), _) => Self::Failing(refusal),
            (None, None) => Self::NotScraped,
            (None, Some(last)) => match last.outcome {
                Ok(_) => Self::Up,
                Err(Refusal::Missing | Refusal::UnknownService) => Self::Returned,
                Err(refusal) => Self::Failing(refusal),
            },
        }
    }

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
        host: state.host_name.clone(),
        recipient,
        process: match audience {
            Audience::Scraper { .. } => None,
            Audience::Operator => Some(process_status(gate, state)),
        },
        may_scrape_aegis: audience.may_scrape_aegis(&gate.policy),
        services: services
            .map(|service| {
                let problem = inventory.problem(&service);
                let retention =
                    (problem == Some(Refusal::Missing)).then(|| gate.services.retention(&service));
                let recent = recent(&service, audience, state);
                ServiceStatus {
                    socket: gate.services.socket_of(&service),
                    state: State::of(problem, &recent),
                    recent,
                    retention,
                    service,
                }
            })
            .collect(),
        expiries: gate.expiries().to_vec(),
        reload: LastReload { faults, ..last },
        reload_failed,
        not_ready: super::not_ready(gate, state, inventory),
        is_truncated: gate.services.is_truncated(),
    }
}

/// The last scrapes of a service. Details are only for operators.
fn recent(service: &ServiceName, audience: &Audience<'_>, state: &Shared) -> Recent {
    let mut recent = state.recorder.last_scrapes.of(service);
    if let (Audience::Scraper { .. }, Some(failure)) = (audience, &mut recent.failure) {
        failure.detail = None;
    }
    recent
}

fn process_status(gate: &Gate, state: &Shared) -> ProcessStatus {
    ProcessStatus {
        refusals: state.recorder.metrics.refusals(),
        connections: state.connections.usage(),
        max_connections: gate.limits.connections,
        max_connections_per_address: gate.limits.connections_per_address,
        sandbox: state.sandbox.get().cloned().unwrap_or_default(),
        socket_dir: gate.services.socket_dir().to_owned(),
        lost_lines: log::dropped_lines(),
    }
}

impl ServiceStatus {
    pub(super) fn fails(&self) -> bool {
        matches!(self.state, State::Failing(_))
    }

    /// The detail of a problem: that of the last failure, if it was the same.
    pub(super) fn detail(&self, problem: Refusal) -> Option<&str> {
        let failure = self.recent.failure.as_ref();
        let same = failure.filter(|failure| failure.refusal == problem);
        same.and_then(|failure| failure.detail.as_deref())
    }

    /// What to do about a problem. Commands are in backticks, for the page.
    pub(super) fn remedy(&self, problem: Refusal) -> String {
        let gone = match (problem, self.retention) {
            (Refusal::Missing, Some(Retention::Configured)) => {
                "remove it from the configuration, which names it".to_owned()
            }
            (Refusal::Missing, Some(Retention::For(_) | Retention::UntilForgotten)) => {
                format!("run `aegis forget {}`", self.service)
            }
            _ => return problem.remedy().to_owned(),
        };
        format!(
            "Start the service; it creates its socket when it listens. If it is gone for good, {gone}."
        )
    }

    /// Since when it fails, as far as scrapes have shown it.
    pub(super) fn failing_since(&self) -> Option<SystemTime> {
        self.recent.failing_since.filter(|_| self.fails())
    }
}
