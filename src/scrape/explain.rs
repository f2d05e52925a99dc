//! Asks the stages offline what they would decide about a scrape. Decides nothing itself.

use rustls::pki_types::CertificateDer;

use super::authorize::authorize;
use super::handshake::{judge_chain, judge_claimed};
use crate::gate::Gate;
use crate::policy::Permit;
use crate::policy::identity::Identity;
use crate::policy::peer::Peer;
use crate::policy::service_name::ServiceName;
use crate::refusal::Refused;

/// The credentials of a scrape that is explained.
#[derive(Debug)]
pub enum Shows {
    /// A certificate chain, leaf first. It is verified as in a handshake.
    Chain(Vec<CertificateDer<'static>>),
    /// Names and a key that are assumed without proof.
    Claimed(Identity),
}

/// The decision about a scrape that is explained.
#[derive(Debug)]
pub struct Explained {
    /// The first refusal, or the permit.
    pub decided: Result<Permit, Refused>,
    /// The identity that the policy judged; `None` if the leaf cannot be read.
    pub identity: Option<Identity>,
}

/// Asks each stage that needs no connection, in the order of a scrape.
#[must_use]
pub fn explain(gate: &Gate, peer: Peer, shows: Shows, service: &ServiceName) -> Explained {
    let policy = &gate.policy;
    match shows {
        Shows::Chain(chain) => {
            let leaf = chain.first();
            let identity = leaf.and_then(|leaf| Identity::from_leaf(leaf).ok());
            let presented = judge_chain(peer, chain, gate);
            let decided = presented.and_then(|presented| {
                authorize(&presented, service.clone(), gate).map_err(Refused::from)
            });
            Explained { decided, identity }
        }
        Shows::Claimed(identity) => {
            let known = judge_claimed(&peer, &identity, policy);
            let decided = known.and_then(|()| {
                let permit = policy.authorize(&peer, &identity, service.clone());
                permit.map_err(Refused::from)
            });
            Explained {
                decided,
                identity: Some(identity),
            }
        }
    }
}
