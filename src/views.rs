//! What aegis says of itself, to a scraper or to its operator. Reads the gate, decides nothing:
//! whatever a scraper is shown of a service is asked of the policy as a scrape would be.

mod discovery;
mod page;
mod status;

use std::net::SocketAddr;

use crate::gate::{Endpoint, Gate};
use crate::identity::Identity;
use crate::peer::Peer;
use crate::policy::Policy;
use crate::service::ServiceName;
use crate::view::{Shown, View, accepts};
pub(crate) use discovery::{Target, targets};

/// Who looks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Viewer<'a> {
    /// A scraper that the policy knows. It is shown the services that it may scrape.
    Scraper {
        peer: &'a Peer,
        identity: &'a Identity,
        /// The address of aegis that it reached.
        reached: SocketAddr,
    },
    /// Whoever may open the admin socket. It is shown everything.
    Operator,
}

impl Viewer<'_> {
    fn may_scrape(&self, policy: &Policy, service: &ServiceName) -> bool {
        match self {
            Self::Scraper { peer, identity, .. } => {
                policy.authorize(peer, identity, service.clone()).is_ok()
            }
            Self::Operator => true,
        }
    }

    /// The services that it may know of: all that are, or were since aegis runs.
    fn services(&self, gate: &Gate) -> impl Iterator<Item = ServiceName> {
        let known = gate.upstream.known().into_iter();
        known.filter(|service| self.may_scrape(&gate.policy, service))
    }
}

/// Shows a view to whoever looks.
pub(crate) fn show(
    view: View,
    viewer: &Viewer<'_>,
    accept: Option<&str>,
    gate: &Gate,
    endpoint: &Endpoint,
) -> Shown {
    match view {
        View::Discovery => discovery::document(viewer, gate, endpoint),
        View::Healthy => Shown::line(200, "healthy"),
        View::Ready => ready(gate, endpoint),
        View::Status => {
            let status = status::of(viewer, gate, endpoint);
            match accepts(accept, "application/json") {
                true => Shown::json(&status.json()),
                false => page::of(&status),
            }
        }
    }
}

/// Says whether a scrape could succeed, and if not, why.
fn ready(gate: &Gate, endpoint: &Endpoint) -> Shown {
    match not_ready(gate, endpoint) {
        Some(why) => Shown::line(503, &format!("not ready: {why}")),
        None => Shown::line(200, "ready"),
    }
}

fn not_ready(gate: &Gate, endpoint: &Endpoint) -> Option<&'static str> {
    if endpoint.is_draining() {
        return Some("it is stopping");
    }
    if gate.server_has_expired() {
        return Some("the server certificate has run out");
    }
    if gate.vouches_for_nobody() {
        return Some("no client CA has a current CRL");
    }
    if gate.upstream.has_directory().is_err() {
        return Some("the socket directory is not there");
    }
    None
}
