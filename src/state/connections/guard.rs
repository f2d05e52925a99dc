//! The guard of a counted connection.

use std::net::IpAddr;
use std::sync::Arc;

use super::counts::{HANDSHAKE_SHARE, share};
use super::{ConnectionLimiter, Signals};
use crate::policy::identity::ScraperId;
use crate::refusal::{Refusal, Refused};

/// A counted connection; dropping the guard frees its place.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    pub(super) limiter: Arc<ConnectionLimiter>,
    pub(super) address: IpAddr,
    pub(super) history: PeerHistory,
    pub(super) number: u64,
    /// `limits.connections` when the place was taken.
    pub(super) max_connections: usize,
    pub(super) signals: Arc<Signals>,
}

/// What is known of an address when a connection from it is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerHistory {
    /// A scraper has authenticated from there.
    Authenticated,
    /// None has, or it was too long ago to be remembered.
    Unknown,
}

impl ConnectionGuard {
    pub(crate) fn history(&self) -> PeerHistory {
        self.history
    }

    /// What the connection and the limiter tell each other.
    pub(crate) fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// Counts the connection for the scraper that has authenticated on it, and remembers the address.
    ///
    /// # Errors
    /// [`Refusal::ConnectionLimit`] if there is no place for it.
    pub(crate) fn authenticated(&self, scraper: ScraperId) -> Result<(), Refused> {
        let mut counts = self.limiter.lock();
        let for_handshakes = share(self.max_connections, HANDSHAKE_SHARE);
        if counts.authenticated >= self.max_connections - for_handshakes {
            let Some(evicted) = counts.connection_to_evict(scraper) else {
                let held = counts.held_by(scraper);
                let detail = format_args!(
                    "limits.connections = {}, of which this scraper holds {held}",
                    self.max_connections
                );
                return Err(Refused::new(Refusal::ConnectionLimit, detail));
            };
            counts.evict(evicted);
        }
        counts.assign(self.number, scraper);
        counts.remember(self.address);
        Ok(())
    }

    /// Forgets that this scraper has authenticated from this address, unless another one is still
    /// connected from there.
    pub(crate) fn forget_revoked(&self, scraper: ScraperId) {
        self.limiter.lock().forget_revoked(self.address, scraper);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        drop(self.limiter.lock().close(self.number));
    }
}
