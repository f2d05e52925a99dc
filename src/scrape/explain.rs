//! What the stages would say to a scrape, asked offline. Decides nothing itself.

use rustls::pki_types::CertificateDer;

use super::authorize::authorize;
use super::handshake::judge_claimed;
use crate::gate::Gate;
use crate::identity::Identity;
use crate::peer::Peer;
use crate::policy::Permit;
use crate::refusal::Refused;
use crate::service::ServiceName;

/// What a scraper would show of itself.
#[derive(Debug)]
pub enum Shows {
    /// A certificate chain, leaf first, which is verified as in a handshake.
    Chain(Vec<CertificateDer<'static>>),
    /// Names and a key that are taken as they are given.
    Claimed(Identity),
}

/// What became of a scrape that was only asked about.
#[derive(Debug)]
pub struct Explained {
    /// The first no, or the permit.
    pub decided: Result<Permit, Refused>,
    /// Whom the policy was asked about; `None` if the leaf cannot be read.
    pub identity: Option<Identity>,
}

/// Asks each stage that needs no connection, in the order in which a scrape meets them.
#[must_use]
pub fn explain(gate: &Gate, peer: Peer, shows: Shows, service: &ServiceName) -> Explained {
    let policy = &gate.policy;
    match shows {
        Shows::Chain(chain) => {
            let leaf = chain.first();
            let identity = leaf.and_then(|leaf| Identity::from_leaf(leaf).ok());
            let presented = gate.handshake.judge_chain(peer, chain, policy);
            let decided = presented.and_then(|presented| {
                authorize(&presented, service.clone(), policy).map_err(Refused::from)
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
