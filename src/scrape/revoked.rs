//! Judges a connected scraper by the current gate, so that a reload also revokes access on open
//! connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::authorize::authorize;
use super::handshake::{self, Presented, Session};
use super::route::Target;
use crate::gate::Gate;
use crate::refusal::Refused;
use crate::state::State;

/// Takes over the gate in force. If it is another one, returns whether it still admits the scraper.
pub(super) fn follow_gate<S>(
    session: &Session<S>,
    gates: &mut watch::Receiver<Arc<Gate>>,
    gate: &mut Arc<Gate>,
    state: &State,
) -> bool {
    let current = Arc::clone(&gates.borrow_and_update());
    if Arc::ptr_eq(&current, gate) {
        return true;
    }
    *gate = current;
    still_allowed(session, gate, state)
}

/// Whether the gate still admits a scraper. If not, records it.
fn still_allowed<S>(session: &Session<S>, gate: &Gate, state: &State) -> bool {
    let presented = &session.presented;
    let judged = handshake::judge(presented, gate);
    if let Err(refused) = &judged {
        session.guard.forget_revoked(presented.identity.scraper());
        state.recorder.revoked(presented.client(), None, refused);
    }
    judged.is_ok()
}

/// Judges a scraper again if a certificate or CRL has expired since the last time, without a reload.
pub(super) fn still_valid<S>(session: &Session<S>, gate: &Gate, state: &State) -> bool {
    let has_expired = session.presented.has_expired() || gate.trust_has_expired();
    !has_expired || still_allowed(session, gate, state)
}

/// Waits until a gate no longer allows this scrape, and then for the grace period. If a later gate
/// allows it again within that time, the scrape continues.
pub(super) async fn wait_until_revoked(
    presented: &Presented,
    target: &Target,
    mut gates: watch::Receiver<Arc<Gate>>,
) -> Refused {
    let mut revoked: Option<(Refused, Instant)> = None;
    loop {
        let changed = match &revoked {
            None => gates.changed().await,
            Some((_, end)) => tokio::select! {
                biased;
                changed = gates.changed() => changed,
                () = sleep_until(*end) => Ok(()),
            },
        };
        if changed.is_err() {
            // The caller holds the state, which holds the sender: this is unreachable.
            std::future::pending::<()>().await;
        }
        let gate = Arc::clone(&gates.borrow_and_update());
        revoked = match (judge(presented, target, &gate), revoked) {
            (Ok(()), _) => None,
            (Err(refused), None) => Some((refused, Instant::now() + GRACE_PERIOD)),
            (Err(refused), Some((_, end))) if Instant::now() >= end => return refused,
            (Err(refused), Some((_, end))) => Some((refused, end)),
        };
    }
}

fn judge(presented: &Presented, target: &Target, gate: &Gate) -> Result<(), Refused> {
    handshake::judge(presented, gate)?;
    match target {
        Target::View(_) => Ok(()),
        Target::Service(service) => {
            let permit = authorize(presented, service.clone(), gate);
            permit.map(drop).map_err(Refused::from)
        }
    }
}

/// How long a scrape in flight may continue after it is revoked.
pub(super) const GRACE_PERIOD: Duration = Duration::from_secs(4);
