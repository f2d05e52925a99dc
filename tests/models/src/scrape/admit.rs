//! Stub: the address of every connection is admitted.

use std::time::Duration;

use tokio::time::Instant;

use super::handshake::Wire;
use crate::config::Limits;
use crate::policy::peer::Peer;
use crate::refusal::Refused;
use crate::state::{ConnectionGuard, State};

pub struct Admitted {
    pub(super) wire: Wire,
    pub(super) peer: Peer,
    pub(super) accepted: Instant,
    pub(super) guard: ConnectionGuard,
}

impl Admitted {
    /// For the models.
    pub(crate) const GRACE_PERIOD: Duration = super::revoked::GRACE_PERIOD;

    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }
}

pub fn admit(wire: Wire, peer: Peer, limits: &Limits, state: &State) -> Result<Admitted, Refused> {
    Ok(Admitted {
        wire,
        peer,
        accepted: Instant::now(),
        guard: crate::state::ConnectionLimiter::take(&state.connections, &peer, limits)?,
    })
}
