//! `/-/sd`: the services to scrape, in the format of Prometheus's HTTP SD.

use std::net::SocketAddr;

use serde_json::{Map, Value};

use super::Audience;
use crate::gate::Gate;
use crate::http::LocalResponse;
use crate::policy::service_name::ServiceName;
use crate::services::{Inventory, ServiceRegistry};
use crate::state::State;
use crate::text::json::object;

/// How the targets of a discovery document are reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// Through aegis, at this address and port.
    Aegis(&'a str),
    /// By the Unix socket itself, on this host (`__unix_socket__`).
    Socket,
}

/// Answers with the services that the audience may scrape.
pub(super) fn document(
    audience: &Audience<'_>,
    gate: &Gate,
    state: &State,
    inventory: &Inventory,
) -> LocalResponse {
    let reached = match (&gate.advertise, audience) {
        (Some(advertised), _) => advertised.clone(),
        (None, Audience::Scraper { reached, .. }) => {
            // An IPv4 scraper connects to an IPv4 address, even if aegis listens on [::].
            let mut reached = *reached;
            reached.set_ip(reached.ip().to_canonical());
            // A zone is a name of this host's interface; the scraper's host has its own.
            if let SocketAddr::V6(address) = &mut reached {
                address.set_scope_id(0);
            }
            reached.to_string()
        }
        (None, Audience::Operator) => state.address(),
    };
    let targets = targets(
        audience.services(gate, inventory),
        Target::Aegis(&reached),
        &gate.services,
    );
    LocalResponse::json(&targets)
}

/// One target group for each service, since each has its own path and labels.
pub(crate) fn targets(
    names: impl Iterator<Item = ServiceName>,
    target: Target<'_>,
    services: &ServiceRegistry,
) -> Value {
    names
        .map(|service| group(&service, target, services))
        .collect()
}

fn group(service: &ServiceName, target: Target<'_>, services: &ServiceRegistry) -> Value {
    let settings = services.settings(service);
    let mut labels = Map::new();
    let mut label = |name: &str, value: String| {
        labels.insert(name.to_owned(), Value::String(value));
    };
    let target = match target {
        Target::Aegis(reached) => {
            label("__scheme__", "https".to_owned());
            label("__metrics_path__", format!("/{service}"));
            label("instance", format!("{reached}/{service}"));
            reached.to_owned()
        }
        Target::Socket => {
            let socket = services.socket_of(service);
            label("__scheme__", "http".to_owned());
            let (path, query) = settings
                .path
                .split_once('?')
                .unwrap_or((&settings.path, ""));
            label("__metrics_path__", path.to_owned());
            for (name, value) in form_urlencoded::parse(query.as_bytes()) {
                label(&format!("__param_{name}"), value.into_owned());
            }
            label("__unix_socket__", socket.display().to_string());
            label("instance", service.to_string());
            settings.host.clone()
        }
    };
    label("__meta_aegis_service", service.to_string());
    for (name, value) in &settings.labels {
        label(name, value.clone());
    }
    let targets = vec![Value::from(target)];
    object(vec![("targets", targets.into()), ("labels", labels.into())])
}
