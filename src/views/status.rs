//! What the status page says, whatever its form.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use serde_json::Value;

use super::Viewer;
use crate::credentials::Expiry;
use crate::gate::{Endpoint, Gate, LastReload};
use crate::outcomes::{Ended, Failure, Recent};
use crate::refusal::Refusal;
use crate::service::ServiceName;
use crate::view::object;

/// Everything that one viewer may see at one moment.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) who: Who,
    pub(super) services: Vec<ServiceStatus>,
    pub(super) expiries: Vec<Expiry>,
    pub(super) reload: LastReload,
    /// Whether the last reload failed. Why is in `reload`, for the operator alone.
    pub(super) reload_failed: bool,
    /// Why no scrape can succeed, if none can.
    pub(super) not_ready: Option<&'static str>,
}

/// Who looks, by what aegis knows.
#[derive(Debug)]
pub(super) enum Who {
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
    pub(super) last: Option<Ended>,
    pub(super) failure: Option<Failure>,
}

/// How a service is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its last scrape was whole.
    Up,
    /// Its last scrape failed, or the next one will.
    Failing(Refusal),
    /// It can be scraped, and nobody has.
    NotScraped,
    /// Its socket was gone and is there again, and nobody has scraped it since.
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

    /// Its place in a list for people: what fails first, what is well last.
    pub(super) fn urgency(self) -> u8 {
        match self {
            Self::Failing(_) => 0,
            Self::Returned => 1,
            Self::NotScraped => 2,
            Self::Up => 3,
        }
    }
}

/// Gathers what one viewer may see.
pub(super) fn of(viewer: &Viewer<'_>, gate: &Gate, endpoint: &Endpoint) -> Status {
    let last = endpoint.last_reload();
    let reload_failed = !last.faults.is_empty();
    let (who, faults) = match viewer {
        Viewer::Scraper { peer, identity, .. } => {
            let who = Who::Scraper {
                identity: identity.shown(),
                address: peer.address().to_string(),
                not_after: identity.not_after(),
                entries: gate.policy.admitting(peer, identity),
            };
            // What is wrong with a file can name services that this scraper may not know of.
            (who, Vec::new())
        }
        Viewer::Operator => (Who::Operator, last.faults),
    };
    let services = viewer.services(gate);
    Status {
        who,
        services: services
            .map(|service| service_status(service, viewer, gate, endpoint))
            .collect(),
        expiries: gate.expiries().to_vec(),
        reload: LastReload { faults, ..last },
        reload_failed,
        not_ready: super::not_ready(gate, endpoint),
    }
}

fn service_status(
    service: ServiceName,
    viewer: &Viewer<'_>,
    gate: &Gate,
    endpoint: &Endpoint,
) -> ServiceStatus {
    let Recent { last, mut failure } = endpoint.outcomes.of(&service);
    if let (Viewer::Scraper { .. }, Some(failure)) = (viewer, &mut failure) {
        failure.detail = None;
    }
    let state = match (gate.upstream.look(&service), last) {
        (Err(refusal), _) => State::Failing(refusal),
        (Ok(()), None) => State::NotScraped,
        (Ok(()), Some(last)) => match last.outcome {
            Ok(_) => State::Up,
            Err(Refusal::Missing | Refusal::UnknownService) => State::Returned,
            Err(refusal) => State::Failing(refusal),
        },
    };
    ServiceStatus {
        socket: gate.upstream.socket_of(&service),
        service,
        state,
        last,
        failure,
    }
}

impl Status {
    pub(super) fn json(&self) -> Value {
        let who = match &self.who {
            Who::Scraper {
                identity,
                address,
                not_after,
                entries,
            } => object(vec![
                ("identity", identity.clone().into()),
                ("address", address.clone().into()),
                ("certificate_not_after", time(*not_after).into()),
                ("admitted_by", entries.clone().into()),
            ]),
            Who::Operator => object(vec![("operator", true.into())]),
        };
        let services: Vec<Value> = self.services.iter().map(ServiceStatus::json).collect();
        let expiries = self.expiries.iter().map(|expiry| {
            object(vec![
                ("what", expiry.what.clone().into()),
                ("not_after", time(expiry.at).into()),
                ("warning", expiry.warning().into()),
            ])
        });
        let configuration = object(vec![
            ("in_force_since", moment(self.reload.succeeded).into()),
            ("last_reload_successful", (!self.reload_failed).into()),
            ("faults", self.reload.faults.clone().into()),
        ]);
        object(vec![
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("you", who),
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
                ("at", moment(last.at).into()),
                ("seconds", last.duration.as_secs_f64().into()),
                ("bytes", last.outcome.ok().into()),
                ("successful", last.outcome.is_ok().into()),
            ])
        });
        let failure = self.failure.as_ref().map(|failure| {
            let at = moment(failure.at);
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

/// A time in seconds since the Unix epoch, as RFC 3339 has it; at most the last that it has.
pub(super) fn time(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    let since = Duration::from_secs(seconds.min(LAST_SECOND));
    let at = UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH);
    format_rfc3339_seconds(at).to_string()
}

/// A moment, as [`time`]; a clock before 1970 is taken for 1970.
pub(super) fn moment(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    time(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_can_be_shown() {
        assert_eq!(time(i64::MIN), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(time(i64::MAX), "9999-12-31T23:59:59Z");
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(moment(before), "1970-01-01T00:00:00Z");
    }
}
