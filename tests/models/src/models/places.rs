//! `state/connections.rs`: the places of connections.
//!
//! - Never more than `connections` are open, and never more than their share have authenticated: no
//!   place is given twice.
//! - The counts are those of the connections that are open and not evicted; at the end all places
//!   can be taken again: no place is lost, nor freed twice.
//! - An evicted connection notices, whenever it begins to wait for that.

use std::sync::Arc;

use shuttle::future::{block_on, spawn};
use tokio::task::yield_now;

use super::{peer, poll_now};
use crate::config::Limits;
use crate::policy::identity::ScraperId;
use crate::refusal::Refused;
use crate::state::{ConnectionGuard, ConnectionLimiter};

const LIMITS: Limits = Limits {
    connections: 4,
    ..Limits::WIDE
};
/// One place is reserved for handshakes.
const MAX_AUTHENTICATED: usize = 3;
/// A quarter of the places is reserved for known addresses.
const MAX_UNKNOWN: usize = 3;

fn take(limiter: &Arc<ConnectionLimiter>, address: u8) -> Result<ConnectionGuard, Refused> {
    ConnectionLimiter::take(limiter, &peer(address), &LIMITS)
}

fn assert_within_limits(limiter: &ConnectionLimiter) {
    let usage = limiter.usage();
    assert!(usage.open <= LIMITS.connections, "{usage:?}");
    assert!(usage.authenticated <= MAX_AUTHENTICATED, "{usage:?}");
}

/// A connection that authenticates if it can, and ends with its guard if it was not evicted.
async fn connection(
    limiter: Arc<ConnectionLimiter>,
    address: u8,
    ends: bool,
) -> Option<ConnectionGuard> {
    let guard = take(&limiter, address).ok()?;
    assert_within_limits(&limiter);
    yield_now().await;
    guard.authenticated(ScraperId(address)).ok()?;
    assert_within_limits(&limiter);
    (!ends).then_some(guard)
}

/// Six connections of two scrapers; some end.
pub(crate) fn exclusive() {
    let limiter = Arc::<ConnectionLimiter>::default();
    let connections = [
        (1, false),
        (1, true),
        (1, false),
        (1, false),
        (2, true),
        (2, false),
    ];
    let connections =
        connections.map(|(address, ends)| spawn(connection(Arc::clone(&limiter), address, ends)));
    let mut open = Vec::new();
    for connection in connections {
        open.extend(block_on(connection).unwrap());
    }
    open.retain(|guard| poll_now(guard.signals().evicted()).is_none());
    let usage = limiter.usage();
    assert_eq!((usage.open, usage.authenticated), (open.len(), open.len()));
    drop(open);
    limiter.forget_absent();
    assert_all_are_free(&limiter);
}

fn assert_all_are_free(limiter: &Arc<ConnectionLimiter>) {
    let usage = limiter.usage();
    assert_eq!(
        (usage.open, usage.authenticated, usage.busiest),
        (0, 0, None)
    );
    let addresses = 101..=u8::MAX;
    let taken: Vec<_> = addresses
        .map_while(|address| take(limiter, address).ok())
        .collect();
    assert_eq!(taken.len(), MAX_UNKNOWN);
}

/// One address has all places for unknown addresses; two others want one.
pub(crate) fn eviction() {
    let limiter = Arc::<ConnectionLimiter>::default();
    let mut handshakes = Vec::from_iter((0..MAX_UNKNOWN).map(|_| take(&limiter, 1).unwrap()));
    let oldest = handshakes.remove(0);
    // It ends only if it is told.
    let oldest = spawn(async move { oldest.signals().evicted().await });
    let others = [2, 3].map(|address| {
        let limiter = Arc::clone(&limiter);
        spawn(async move {
            let guard = take(&limiter, address);
            assert_within_limits(&limiter);
            yield_now().await;
            guard.is_ok()
        })
    });
    let admitted = others.map(|other| block_on(other).unwrap());
    assert!(admitted.contains(&true));
    block_on(oldest).unwrap();
    drop(handshakes);
    assert_all_are_free(&limiter);
}
