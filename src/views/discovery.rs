//! `/-/sd`: what there is to scrape, as Prometheus's HTTP SD wants it.

use serde_json::{Map, Value};

use super::Viewer;
use crate::gate::{Endpoint, Gate};
use crate::scrape::Upstream;
use crate::service::ServiceName;
use crate::view::{Shown, object};

/// How the targets of a discovery document are reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// Through aegis, at this address and port.
    Aegis(&'a str),
    /// By the Unix socket itself, on this host (`__unix_socket__`).
    Socket,
}

/// Answers with the services that whoever looks may scrape.
pub(super) fn document(viewer: &Viewer<'_>, gate: &Gate, endpoint: &Endpoint) -> Shown {
    let reached = match (&gate.advertise, viewer) {
        (Some(advertised), _) => advertised.clone(),
        (None, Viewer::Scraper { reached, .. }) => {
            // An IPv4 scraper of a listener on [::] reached an IPv4 address.
            let mut reached = *reached;
            reached.set_ip(reached.ip().to_canonical());
            reached.to_string()
        }
        (None, Viewer::Operator) => endpoint.address(),
    };
    let targets = targets(
        viewer.services(gate),
        Target::Aegis(&reached),
        &gate.upstream,
    );
    Shown::json(&targets)
}

/// A group of its own for each service, since each has its own path and labels.
pub(crate) fn targets(
    services: impl Iterator<Item = ServiceName>,
    target: Target<'_>,
    upstream: &Upstream,
) -> Value {
    services
        .map(|service| group(&service, target, upstream))
        .collect()
}

fn group(service: &ServiceName, target: Target<'_>, upstream: &Upstream) -> Value {
    let settings = upstream.settings(service);
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
            let socket = upstream.socket_of(service);
            label("__scheme__", "http".to_owned());
            label("__metrics_path__", settings.path.clone());
            label("__unix_socket__", socket.display().to_string());
            label("instance", service.to_string());
            "localhost".to_owned()
        }
    };
    label("__meta_aegis_service", service.to_string());
    for (name, value) in &settings.labels {
        label(name, value.clone());
    }
    let targets = vec![Value::from(target)];
    object(vec![("targets", targets.into()), ("labels", labels.into())])
}
