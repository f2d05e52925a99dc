//! aegis's own pages, for scrapers and operators. Reads the gate and decides nothing: the policy
//! decides which services a scraper sees, as for scrapes.

mod discovery;
mod metrics;
mod page;
mod status;

use std::net::SocketAddr;

use crate::gate::Gate;
use crate::http::{LocalResponse, View, accepts};
use crate::policy::Policy;
use crate::policy::identity::Identity;
use crate::policy::peer::Peer;
use crate::policy::service_name::ServiceName;
use crate::services::{Depth, Inventory};
use crate::state::State;
pub(crate) use discovery::{Target, targets};
pub(crate) use metrics::own_metrics;

/// Who views a page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Audience<'a> {
    /// An admitted scraper. It sees the services that it may scrape.
    Scraper {
        peer: &'a Peer,
        identity: &'a Identity,
        /// The address of aegis that it connected to.
        reached: SocketAddr,
    },
    /// A user of the admin socket. It sees everything.
    Operator,
}

impl Audience<'_> {
    fn may_scrape(&self, policy: &Policy, service: &ServiceName) -> bool {
        match self {
            Self::Scraper { peer, identity, .. } => {
                policy.authorize(peer, identity, service.clone()).is_ok()
            }
            Self::Operator => true,
        }
    }

    /// Whether it may scrape aegis's own metrics.
    fn may_scrape_aegis(&self, policy: &Policy) -> bool {
        let own = ServiceName::OWN_METRICS.parse();
        own.is_ok_and(|own| self.may_scrape(policy, &own))
    }

    /// The services that it may see, including those that are gone since aegis started.
    fn services(&self, gate: &Gate, inventory: &Inventory) -> impl Iterator<Item = ServiceName> {
        let known = inventory.known.iter().cloned();
        known.filter(|service| self.may_scrape(&gate.policy, service))
    }
}

/// Answers with a view.
pub(crate) async fn show(
    view: View,
    audience: &Audience<'_>,
    accept: Option<&str>,
    gate: &Gate,
    state: &State,
) -> LocalResponse {
    let inspect = |depth| state.inspect(gate, depth);
    match view {
        View::Discovery => discovery::document(audience, gate, state, &inspect(Depth::Names).await),
        View::Healthy => LocalResponse::line(200, "healthy"),
        View::Ready => ready(gate, state, &inspect(Depth::Names).await),
        View::Status(refresh) => {
            let inventory = inspect(Depth::Sockets).await;
            let status = status::of(audience, gate, state, &inventory);
            if accepts(accept, "application/json") {
                LocalResponse::json(&status.json())
            } else {
                page::of(&status, refresh)
            }
        }
    }
}

/// Answers whether a scrape could succeed, and if not, why.
fn ready(gate: &Gate, state: &State, inventory: &Inventory) -> LocalResponse {
    match not_ready(gate, state, inventory) {
        Some(why) => LocalResponse::line(503, &format!("not ready: {why}")),
        None => LocalResponse::line(200, "ready"),
    }
}

fn not_ready(gate: &Gate, state: &State, inventory: &Inventory) -> Option<&'static str> {
    if state.is_draining() {
        return Some("aegis is stopping");
    }
    if gate.server_has_expired() {
        return Some("the server certificate has expired");
    }
    if gate.client_cas_have_expired() {
        return Some("every client CA has expired");
    }
    if gate.all_crls_expired() {
        return Some("no client CA has a current CRL");
    }
    inventory.socket_dir.problem()
}
