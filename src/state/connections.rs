//! Limits connections, and decides which one is evicted when all places are taken.
//!
//! A connection takes a place before anything but its source address is known. Until its handshake
//! ends, it counts for that address. From then on it counts for the scraper, from whatever address
//! that scraper connects. Three rules share the places:
//!
//! - A sixteenth is reserved for handshakes, so that a scraper can always authenticate.
//! - If no place is free for a new handshake, the address with the most handshakes loses its oldest,
//!   provided that it has at least two more than the new one's address. A known address, from which a
//!   scraper has authenticated before, evicts handshakes of unknown addresses first and needs no such
//!   lead, as long as they hold more than a thirty-second of the places. A quarter of the places is
//!   reserved for known addresses.
//! - If no place is free for a scraper that has just authenticated, the scraper with the most
//!   connections loses one, provided that it has at least two more: the oldest idle one, or else its
//!   newest. So no scraper keeps more than half of the places while another wants one. A scraper that
//!   gains nothing this way loses an idle connection of its own: with more targets than places, each
//!   target is still scraped.

mod counts;
mod guard;
mod rate;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::config::Limits;
use crate::policy::peer::Peer;
use crate::refusal::{Refusal, Refused};
use counts::Counts;
pub(crate) use guard::{ConnectionGuard, PeerHistory};
use rate::RateLimits;

/// Limits connections: all of them, those of one address, and how fast one address opens them.
///
/// It outlives every gate; each gate has its own numbers.
#[derive(Debug, Default)]
pub struct ConnectionLimiter {
    counts: Mutex<Counts>,
    rates: RateLimits,
}

impl ConnectionLimiter {
    /// Takes a place for a new connection, and evicts another if the rules say so.
    ///
    /// # Errors
    /// [`Refusal::Rate`] or [`Refusal::ConnectionLimit`].
    pub(crate) fn take(
        limiter: &Arc<Self>,
        peer: &Peer,
        limits: &Limits,
    ) -> Result<ConnectionGuard, Refused> {
        let address = peer.counted_as();
        limiter.rates.check(address, limits)?;
        let mut counts = limiter.lock();
        let open = counts.open_from(address);
        if open >= limits.connections_per_address {
            let detail = format_args!("limits.connections_per_address = {open}");
            return Err(Refused::new(Refusal::ConnectionLimit, detail));
        }
        let history = counts.history(address);
        if counts.is_full(history, limits.connections) {
            let evicted = counts.handshake_to_evict(address, history, limits.connections);
            counts.evict(evicted.ok_or_else(|| limit_reached(limits.connections))?);
        }
        let (number, signals) = counts.open(address, history);
        Ok(ConnectionGuard {
            limiter: Arc::clone(limiter),
            address,
            history,
            number,
            max_connections: limits.connections,
            signals,
        })
    }

    /// Forgets known addresses without a connected scraper: the configuration may have changed, and
    /// grant nothing to the scrapers that authenticated from there.
    pub(crate) fn forget_absent(&self) {
        self.lock().forget_absent();
    }

    /// How much of the limits is in use.
    pub(crate) fn usage(&self) -> ConnectionUse {
        let counts = self.lock();
        let by_address = counts.by_address.iter();
        let busiest = by_address.max_by_key(|(_, at)| at.open);
        ConnectionUse {
            open: counts.open.len(),
            authenticated: counts.authenticated,
            busiest: busiest.map(|(address, at)| (*address, at.open)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }
}

/// The connections that are open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionUse {
    pub(crate) open: usize,
    /// Those whose scrapers have authenticated.
    pub(crate) authenticated: usize,
    /// The address with the most, and how many that is. An IPv6 address stands for its /64.
    pub(crate) busiest: Option<(IpAddr, usize)>,
}

fn limit_reached(connections: usize) -> Refused {
    let detail = format_args!("limits.connections = {connections}");
    Refused::new(Refusal::ConnectionLimit, detail)
}

/// What a connection and the limiter tell each other.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    serving: AtomicBool,
    evicted: Notify,
}

impl Signals {
    /// Waits until the connection is evicted.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Notes whether a request is being served: idle connections are evicted first.
    pub(crate) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    fn is_idle(&self) -> bool {
        !self.serving.load(Ordering::Relaxed)
    }

    fn evict(&self) {
        self.evicted.notify_one();
    }
}

#[cfg(test)]
mod tests;
