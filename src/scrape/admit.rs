//! Stage 1. Decides by its source address whether a connection gets a place.
//!
//! Reads not one byte: whoever is refused here costs an accept and a reset.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config::Limits;
use crate::peer::Peer;
use crate::policy::Policy;
use crate::refusal::Refusal;

/// Admits a connection, or resets it.
///
/// # Errors
/// [`Refusal::Network`], [`Refusal::Rate`] or [`Refusal::ConnectionLimit`].
pub fn admit(
    stream: TcpStream,
    source: SocketAddr,
    policy: &Policy,
    limits: &Limits,
    places: &Arc<Places>,
) -> Result<Admitted, Refusal> {
    let peer = Peer::new(source);
    let decided = if policy.admits(&peer) {
        Places::take(places, &peer, limits)
    } else {
        Err(Refusal::Network)
    };
    match decided {
        Ok(slot) => {
            // Without it, the last small packet of a large body waits for the scraper's ACK.
            drop(stream.set_nodelay(true));
            Ok(Admitted {
                stream,
                peer,
                accepted: Instant::now(),
                slot,
            })
        }
        Err(refusal) => {
            // A reset leaves no TIME_WAIT behind, and tells a scan as little as a closed port.
            drop(stream.set_zero_linger());
            Err(refusal)
        }
    }
}

/// Proof that a connection's address was admitted and that it holds a counted place.
///
/// The handshake takes no bare stream:
///
/// ```
/// fn handshake(_: aegis::scrape::Admitted) {}
/// fn accept(admitted: aegis::scrape::Admitted) { handshake(admitted); }
/// ```
/// ```compile_fail
/// fn handshake(_: aegis::scrape::Admitted) {}
/// fn accept(admitted: tokio::net::TcpStream) { handshake(admitted); }
/// ```
#[derive(Debug)]
pub struct Admitted {
    pub(super) stream: TcpStream,
    pub(super) peer: Peer,
    pub(super) accepted: Instant,
    pub(super) slot: Slot,
}

impl Admitted {
    /// The address that was admitted.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }
}

/// The places for connections: a cap on all, on those of one address, and on how fast one
/// address takes new ones.
///
/// The last of them are kept for addresses from which a scraper has proved who it is: strangers
/// from however many addresses cannot keep those out that have been there before.
///
/// They outlive every gate; how many there are, each gate says anew.
#[derive(Debug, Default)]
pub struct Places {
    taken: Mutex<Taken>,
    rate: Mutex<Option<Rate>>,
}

/// How fast addresses connect, by the figures of some gate.
#[derive(Debug)]
struct Rate {
    per_second: u32,
    burst: u32,
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
}

impl Rate {
    fn of(limits: &Limits) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(limits.connection_rate))
            .allow_burst(at_least_one(limits.connection_burst));
        Self {
            per_second: limits.connection_rate,
            burst: limits.connection_burst,
            limiter: RateLimiter::hashmap(quota),
        }
    }

    fn is_of(&self, limits: &Limits) -> bool {
        (self.per_second, self.burst) == (limits.connection_rate, limits.connection_burst)
    }
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Addresses from which a scraper has proved who it is, and when the last did.
    proven: HashMap<IpAddr, Instant>,
}

impl Places {
    pub(super) fn take(places: &Arc<Self>, peer: &Peer, limits: &Limits) -> Result<Slot, Refusal> {
        let address = peer.counted_as();
        places.check_rate(address, limits)?;
        let mut taken = places.taken.lock().unwrap_or_else(|held| held.into_inner());
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        let standing = match taken.proven.contains_key(&address) {
            true => Standing::Proven,
            false => Standing::Stranger,
        };
        let kept = match standing {
            Standing::Proven => 0,
            Standing::Stranger => limits.connections / KEPT_SHARE,
        };
        let open_to_it = limits.connections.saturating_sub(kept);
        if taken.all >= open_to_it || here >= limits.connections_per_address {
            return Err(Refusal::ConnectionLimit);
        }
        taken.all += 1;
        taken.by_address.insert(address, here + 1);
        Ok(Slot {
            places: Arc::clone(places),
            address,
            standing,
        })
    }

    fn check_rate(&self, address: IpAddr, limits: &Limits) -> Result<(), Refusal> {
        let mut rate = self.rate.lock().unwrap_or_else(|held| held.into_inner());
        if rate.as_ref().is_some_and(|rate| !rate.is_of(limits)) {
            *rate = None;
        }
        let limiter = &rate.get_or_insert_with(|| Rate::of(limits)).limiter;
        // Addresses that have not connected for a while are as good as new, and forgotten.
        // An attacker with more addresses than fit is refused, not remembered.
        if limiter.len() >= REMEMBERED_ADDRESSES {
            limiter.retain_recent();
            if limiter.len() >= REMEMBERED_ADDRESSES {
                return Err(Refusal::Rate);
            }
        }
        limiter.check_key(&address).map_err(|_| Refusal::Rate)
    }

    fn remember(&self, address: IpAddr) {
        let mut taken = self.taken.lock().unwrap_or_else(|held| held.into_inner());
        let proven = &mut taken.proven;
        if proven.len() >= PROVEN_ADDRESSES && !proven.contains_key(&address) {
            let oldest = proven.iter().min_by_key(|(_, last)| **last);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                proven.remove(&oldest);
            }
        }
        proven.insert(address, Instant::now());
    }

    fn give_back(&self, address: IpAddr) {
        let mut taken = self.taken.lock().unwrap_or_else(|held| held.into_inner());
        taken.all = taken.all.saturating_sub(1);
        if let Some(here) = taken.by_address.get_mut(&address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// About 3 MiB at the most.
const REMEMBERED_ADDRESSES: usize = 32_768;

/// One place of so many is kept for those who have proved who they are.
const KEPT_SHARE: usize = 4;

/// More scrapers than one aegis has. Whoever has been away the longest is forgotten first.
const PROVEN_ADDRESSES: usize = 1024;

/// A counted place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Slot {
    places: Arc<Places>,
    address: IpAddr,
    standing: Standing,
}

/// What is known of an address when a connection from it is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A scraper has proved who it is, from there.
    Proven,
    /// None has, or it was too long ago to be remembered.
    Stranger,
}

impl Slot {
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Remembers that a scraper has proved who it is, from this address.
    pub(super) fn is_proven_now(&self) {
        self.places.remember(self.address);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.places.give_back(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Door {
        places: Arc<Places>,
        limits: Limits,
    }

    fn door(connections: usize, connections_per_address: usize) -> Door {
        let limits = Limits {
            connections,
            connections_per_address,
            connection_burst: 8,
            ..Limits::default()
        };
        Door {
            places: Arc::default(),
            limits,
        }
    }

    fn take(door: &Door, source: &str) -> Result<Slot, Refusal> {
        let peer = Peer::new(source.parse().unwrap());
        Places::take(&door.places, &peer, &door.limits)
    }

    #[test]
    fn a_place_is_free_again_once_its_slot_is_dropped() {
        let door = door(2, 2);
        let first = take(&door, "192.0.2.1:1").unwrap();
        let _second = take(&door, "192.0.2.2:1").unwrap();
        let refused = take(&door, "192.0.2.3:1").unwrap_err();
        assert_eq!(refused, Refusal::ConnectionLimit);
        drop(first);
        assert!(take(&door, "192.0.2.3:1").is_ok());
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let door = door(8, 2);
        let _held: Vec<_> = ["[2001:db8::1]:1", "[2001:db8::2]:1"]
            .map(|source| take(&door, source).unwrap())
            .into();
        // Another address of the same /64 is the same host.
        let refused = take(&door, "[2001:db8::3]:1").unwrap_err();
        assert_eq!(refused, Refusal::ConnectionLimit);
        assert!(take(&door, "[2001:db8:0:1::1]:1").is_ok());
        assert!(take(&door, "192.0.2.1:1").is_ok());
    }

    #[test]
    fn strangers_cannot_take_the_places_that_are_kept_for_the_proven() {
        let door = door(8, 8);
        let first = take(&door, "192.0.2.1:1").unwrap();
        assert_eq!(first.standing(), Standing::Stranger);
        first.is_proven_now();
        drop(first);
        let stranger = |number: u8| take(&door, &format!("198.51.100.{number}:1"));
        let _held: Vec<_> = (0..6).map(|number| stranger(number).unwrap()).collect();
        assert_eq!(stranger(6).unwrap_err(), Refusal::ConnectionLimit);
        let seventh = take(&door, "192.0.2.1:2").unwrap();
        assert_eq!(seventh.standing(), Standing::Proven);
        let _eighth = take(&door, "192.0.2.1:3").unwrap();
        assert_eq!(
            take(&door, "192.0.2.1:4").unwrap_err(),
            Refusal::ConnectionLimit
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_proved_it_the_longest_ago_is_forgotten_first() {
        let door = door(8, 8);
        let address = |number: usize| {
            let host = u32::try_from(number).unwrap();
            IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + host))
        };
        for number in 0..PROVEN_ADDRESSES {
            door.places.remember(address(number));
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        door.places.remember(address(0));
        door.places.remember(address(PROVEN_ADDRESSES));
        let taken = door.places.taken.lock().unwrap();
        assert_eq!(taken.proven.len(), PROVEN_ADDRESSES);
        for (number, is_there) in [(0, true), (1, false), (2, true), (PROVEN_ADDRESSES, true)] {
            assert_eq!(taken.proven.contains_key(&address(number)), is_there);
        }
    }

    #[test]
    fn one_address_cannot_connect_ever_faster() {
        let door = door(8, 8);
        let refusals: Vec<_> = (0..100)
            .filter_map(|_| take(&door, "192.0.2.1:1").err())
            .collect();
        assert!(refusals.len() > 50, "{} of 100", refusals.len());
        assert!(refusals.iter().all(|refusal| *refusal == Refusal::Rate));
        assert!(take(&door, "192.0.2.2:1").is_ok());
    }

    #[test]
    fn other_limits_hold_from_the_next_connection_on() {
        let mut door = door(8, 8);
        let _held = take(&door, "192.0.2.1:1").unwrap();
        door.limits.connections = 1;
        let refused = take(&door, "192.0.2.2:1").unwrap_err();
        assert_eq!(refused, Refusal::ConnectionLimit);
        door.limits.connections = 2;
        door.limits.connection_burst = 1;
        drop(take(&door, "192.0.2.3:1").unwrap());
        assert_eq!(take(&door, "192.0.2.3:1").unwrap_err(), Refusal::Rate);
    }
}
