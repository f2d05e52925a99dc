//! One service of the list, as text and as JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nix::unistd::{Uid, User};
use serde_json::Value;

use super::super::describe;
use crate::policy::Policy;
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};
use crate::scrape::Probed;
use crate::services::{Offered, ServiceRegistry};
use crate::text::json::object;

/// A service: its socket, the socket's owner, who may scrape it, and the result of a scrape.
pub(super) struct Listed {
    service: ServiceName,
    socket: PathBuf,
    owner: Result<u32, Refused>,
    /// The indices of the entries that grant it.
    entries: Vec<usize>,
    labels: BTreeMap<String, String>,
    pub(super) probed: Option<Result<Probed, Refused>>,
}

impl Listed {
    pub(super) fn new(offered: Offered, services: &ServiceRegistry, policy: &Policy) -> Self {
        let Offered {
            service,
            socket,
            owner,
        } = offered;
        let entries = policy.entries().iter().enumerate();
        let entries = entries.filter(|(_, entry)| entry.grants(&service));
        Self {
            entries: entries.map(|(number, _)| number).collect(),
            labels: services.settings(&service).labels.clone(),
            service,
            socket,
            owner,
            probed: None,
        }
    }

    pub(super) fn service(&self) -> &ServiceName {
        &self.service
    }

    /// One line.
    pub(super) fn text(&self) -> String {
        let state = match &self.owner {
            Ok(uid) => match user_name(*uid) {
                Some(name) => format!("owner {name} (uid {uid})"),
                None => format!("owner uid {uid}"),
            },
            Err(refused) if is_missing(refused) => "missing".to_owned(),
            Err(refused) => format!("unusable, {}", describe(refused)),
        };
        let entries = self.entries.iter().map(|number| format!("allow[{number}]"));
        let grants = match Vec::from_iter(entries).join(", ") {
            none if none.is_empty() => "no entry".to_owned(),
            some => some,
        };
        let labels = self.labels.iter();
        let labels = labels.map(|(name, value)| format!(", {name}={value:?}"));
        let labels: String = labels.collect();
        let (service, socket) = (&self.service, self.socket.display());
        let probed = match &self.probed {
            None => String::new(),
            Some(Ok(Probed { bytes, duration })) => {
                let seconds = duration.as_secs_f64();
                format!("; probe: status 200, {bytes} bytes in {seconds:.3} s")
            }
            Some(Err(refused)) => format!("; probe failed: {}", describe(refused)),
        };
        format!("{service}: {socket}, {state}, granted by {grants}{labels}{probed}\n")
    }

    pub(super) fn json(&self) -> Value {
        let state = match &self.owner {
            Ok(_) => "present",
            Err(refused) if is_missing(refused) => "missing",
            Err(_) => "unusable",
        };
        let owner = self.owner.as_ref().ok();
        let labels = self.labels.iter();
        let labels = labels.map(|(name, value)| (name.clone(), Value::from(value.clone())));
        object(vec![
            ("service", self.service.as_str().into()),
            ("socket", self.socket.display().to_string().into()),
            ("state", state.into()),
            ("uid", owner.copied().into()),
            ("owner", owner.and_then(|uid| user_name(*uid)).into()),
            ("problem", self.owner.as_ref().err().map(problem).into()),
            ("entries", self.entries.clone().into()),
            ("labels", Value::Object(labels.collect())),
            ("probe", self.probed.as_ref().map(probe).into()),
        ])
    }
}

fn is_missing(refused: &Refused) -> bool {
    matches!(refused.refusal, Refusal::Missing | Refusal::UnknownService)
}

fn probe(probed: &Result<Probed, Refused>) -> Value {
    match probed {
        Ok(Probed { bytes, duration }) => object(vec![
            ("ok", true.into()),
            ("bytes", (*bytes).into()),
            ("seconds", duration.as_secs_f64().into()),
            ("problem", Value::Null),
        ]),
        Err(refused) => object(vec![
            ("ok", false.into()),
            ("bytes", Value::Null),
            ("seconds", Value::Null),
            ("problem", problem(refused)),
        ]),
    }
}

fn problem(refused: &Refused) -> Value {
    let Refused { refusal, detail } = refused;
    object(vec![
        ("stage", refusal.stage().name().into()),
        ("reason", refusal.reason().into()),
        ("explanation", refusal.to_string().into()),
        ("detail", detail.as_ref().map(ToString::to_string).into()),
    ])
}

fn user_name(uid: u32) -> Option<String> {
    let user = User::from_uid(Uid::from_raw(uid)).ok()?;
    user.map(|user| user.name)
}
