//! The status as JSON. Fields are only added.

use std::time::SystemTime;

use serde_json::Value;

use super::{ProcessStatus, Recipient, ServiceStatus, State, Status};
use crate::refusal::Refusal;
use crate::services::Retention;
use crate::telemetry::metrics::LayerState;
use crate::text::json::object;
use crate::text::time::{rfc3339, rfc3339_of};

impl Status {
    pub(crate) fn json(&self) -> Value {
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
        let process = self.process.as_ref();
        object(vec![
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("host", self.host.to_string().into()),
            ("you", recipient),
            ("not_ready", self.not_ready.into()),
            ("services", services.into()),
            ("expiries", expiries.collect()),
            ("configuration", self.configuration()),
            ("refusals", process.map(ProcessStatus::refusals).into()),
            (
                "connections",
                process.map(ProcessStatus::connections).into(),
            ),
            ("sandbox", process.map(ProcessStatus::sandbox).into()),
            ("services_truncated", self.is_truncated.into()),
            (
                "socket_dir",
                process
                    .map(|process| process.socket_dir.display().to_string())
                    .into(),
            ),
            (
                "log_lines_lost",
                process.map(|process| process.lost_lines).into(),
            ),
        ])
    }

    fn configuration(&self) -> Value {
        object(vec![
            ("in_force_since", rfc3339_of(self.reload.succeeded).into()),
            ("last_reload_successful", (!self.reload_failed).into()),
            ("restricted", self.reload.restricted.clone().into()),
            ("faults", self.reload.faults.clone().into()),
            (
                "pending_restart",
                self.reload.pending_restart.clone().into(),
            ),
            ("last_reload", rfc3339_of(self.reload.attempted).into()),
            (
                "failing_since",
                self.reload.failing_since.map(rfc3339_of).into(),
            ),
        ])
    }
}

impl ServiceStatus {
    fn json(&self) -> Value {
        let last = self.recent.last.map(|last| {
            object(vec![
                ("at", rfc3339_of(last.at).into()),
                ("seconds", last.duration.as_secs_f64().into()),
                ("bytes", last.outcome.ok().into()),
                ("successful", last.outcome.is_ok().into()),
            ])
        });
        let failure = self.recent.failure.as_ref().map(|failure| {
            let at = rfc3339_of(failure.at);
            let mut shown = self.refusal(failure.refusal, failure.detail.as_deref());
            if let Some(shown) = shown.as_object_mut() {
                shown.insert("at".to_owned(), at.into());
            }
            shown
        });
        let problem = match self.state {
            State::Failing(problem) => self.refusal(problem, self.detail(problem)),
            State::Up | State::NotScraped | State::Returned => Value::Null,
        };
        let time = |at: Option<SystemTime>| Value::from(at.map(rfc3339_of));
        let failures = self.recent.history.failures_in_last_hour();
        object(vec![
            ("name", self.service.as_str().into()),
            ("path", format!("/{}", self.service).into()),
            ("socket", self.socket.display().to_string().into()),
            ("state", self.state.word().into()),
            ("problem", problem),
            ("last_scrape", last.into()),
            ("last_failure", failure.into()),
            ("last_success", time(self.recent.succeeded)),
            ("failing_since", time(self.failing_since())),
            ("failures_last_hour", failures.into()),
            ("forgotten_at", time(self.forgotten_at())),
        ])
    }

    fn refusal(&self, refusal: Refusal, detail: Option<&str>) -> Value {
        object(vec![
            ("stage", refusal.stage().name().into()),
            ("reason", refusal.reason().into()),
            ("what", refusal.sentence().into()),
            ("remedy", self.remedy(refusal).replace('`', "").into()),
            ("detail", detail.into()),
        ])
    }

    /// When it will be forgotten, if its socket stays away until then.
    fn forgotten_at(&self) -> Option<SystemTime> {
        match self.retention? {
            Retention::For(left) => SystemTime::now().checked_add(left),
            Retention::Configured | Retention::UntilForgotten => None,
        }
    }
}

impl ProcessStatus {
    fn refusals(&self) -> Value {
        let refusals = self.refusals.iter().map(|(refusal, count)| {
            object(vec![
                ("stage", refusal.stage().name().into()),
                ("reason", refusal.reason().into()),
                ("count", (*count).into()),
            ])
        });
        refusals.collect()
    }

    fn connections(&self) -> Value {
        let busiest = self.connections.busiest;
        object(vec![
            ("open", self.connections.open.into()),
            ("authenticated", self.connections.authenticated.into()),
            ("max", self.max_connections.into()),
            (
                "most_from_one_address",
                busiest.map_or(0, |(_, open)| open).into(),
            ),
            ("max_per_address", self.max_connections_per_address.into()),
        ])
    }

    fn sandbox(&self) -> Value {
        let layers = self.sandbox.iter().map(|layer| {
            object(vec![
                ("layer", layer.name.into()),
                ("active", (layer.state == LayerState::Active).into()),
                ("why", layer.why.clone().into()),
            ])
        });
        layers.collect()
    }
}
