//! Counts the open connections by address and by scraper, and picks the one to evict.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::{PeerHistory, Signals};
use crate::policy::identity::ScraperId;

#[derive(Debug, Default)]
pub(super) struct Counts {
    /// By a number that grows: the first is the oldest.
    pub(super) open: BTreeMap<u64, OpenConnection>,
    next_number: u64,
    pub(super) by_address: HashMap<IpAddr, AddressCounts>,
    pub(super) by_scraper: HashMap<ScraperId, usize>,
    /// Connections whose scrapers have authenticated.
    pub(super) authenticated: usize,
    /// Handshakes from unknown addresses.
    pub(super) unknown: usize,
    /// Addresses from which a scraper has authenticated, and when the last one did.
    pub(super) known_addresses: HashMap<IpAddr, Instant>,
}

#[derive(Debug, Default)]
pub(super) struct AddressCounts {
    pub(super) open: usize,
    pub(super) handshakes: usize,
}

#[derive(Debug)]
pub(super) struct OpenConnection {
    pub(super) address: IpAddr,
    pub(super) holder: Holder,
    signals: Arc<Signals>,
}

/// For whom a connection counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Handshake(PeerHistory),
    Scraper(ScraperId),
}

/// One of this many places is reserved for known addresses.
const KNOWN_SHARE: usize = 4;

/// One of this many places is reserved for handshakes.
pub(super) const HANDSHAKE_SHARE: usize = 16;

/// One of this many places is for unknown addresses, however many handshakes known ones begin.
const UNKNOWN_SHARE: usize = 32;

/// More than the scrapers of one aegis. The address that authenticated longest ago is forgotten first.
pub(super) const MAX_KNOWN_ADDRESSES: usize = 1024;

/// With a lead of one, two holders would evict each other in turn.
const MIN_LEAD: usize = 2;

/// One of this many places; at least one, unless there is only one place.
pub(super) fn share(connections: usize, one_of: usize) -> usize {
    (connections / one_of).max(usize::from(connections > 1))
}

impl Counts {
    pub(super) fn open_from(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).map_or(0, |at| at.open)
    }

    pub(super) fn history(&self, address: IpAddr) -> PeerHistory {
        if self.known_addresses.contains_key(&address) {
            PeerHistory::Authenticated
        } else {
            PeerHistory::Unknown
        }
    }

    /// Whether no place is free for a new handshake.
    pub(super) fn is_full(&self, history: PeerHistory, connections: usize) -> bool {
        let max_unknown = connections - connections / KNOWN_SHARE;
        self.open.len() >= connections
            || (history == PeerHistory::Unknown && self.unknown >= max_unknown)
    }

    pub(super) fn open(&mut self, address: IpAddr, history: PeerHistory) -> (u64, Arc<Signals>) {
        let number = self.next_number;
        self.next_number += 1;
        let at = self.by_address.entry(address).or_default();
        at.open += 1;
        at.handshakes += 1;
        self.unknown += usize::from(history == PeerHistory::Unknown);
        let signals = Arc::<Signals>::default();
        let connection = OpenConnection {
            address,
            holder: Holder::Handshake(history),
            signals: Arc::clone(&signals),
        };
        self.open.insert(number, connection);
        (number, signals)
    }

    /// The handshake to evict for a new one from this address, if any.
    pub(super) fn handshake_to_evict(
        &self,
        newcomer: IpAddr,
        history: PeerHistory,
        connections: usize,
    ) -> Option<u64> {
        let unknown = Holder::Handshake(PeerHistory::Unknown);
        // A few unknown addresses can authenticate, however many handshakes a known one begins.
        let reserved = share(connections, UNKNOWN_SHARE);
        let any = history == PeerHistory::Authenticated || self.unknown < reserved;
        let handshakes = || {
            let open = self.open.iter();
            open.filter(move |(_, connection)| match connection.holder {
                Holder::Handshake(_) => any || connection.holder == unknown,
                Holder::Scraper(_) => false,
            })
        };
        // An address may have become known since its handshake began.
        let is_unknown = |connection: &OpenConnection| {
            connection.holder == unknown && !self.known_addresses.contains_key(&connection.address)
        };
        if history == PeerHistory::Authenticated
            && self.unknown > reserved
            && let Some((number, _)) = handshakes().find(|(_, connection)| is_unknown(connection))
        {
            return Some(*number);
        }
        let from = |address| self.by_address.get(&address).map_or(0, |at| at.handshakes);
        let addresses = handshakes().map(|(_, connection)| connection.address);
        let busiest = addresses.max_by_key(|address| from(*address))?;
        if from(busiest) < from(newcomer) + MIN_LEAD {
            return None;
        }
        let oldest = handshakes().find(|(_, connection)| connection.address == busiest);
        oldest.map(|(number, _)| *number)
    }

    /// The connection to evict for one of this scraper, if any.
    pub(super) fn connection_to_evict(&self, newcomer: ScraperId) -> Option<u64> {
        let (busiest, held) = self.by_scraper.iter().max_by_key(|(_, held)| **held)?;
        let own = self.held_by(newcomer);
        let of = |scraper| {
            let open = self.open.iter();
            open.filter(move |(_, connection)| connection.holder == Holder::Scraper(scraper))
        };
        let evicted = if *held < own + MIN_LEAD {
            // Its newest: of many targets, the others are due sooner.
            of(newcomer).rfind(|(_, connection)| connection.signals.is_idle())
        } else {
            let idle = of(*busiest).find(|(_, connection)| connection.signals.is_idle());
            idle.or_else(|| of(*busiest).next_back())
        };
        evicted.map(|(number, _)| *number)
    }

    pub(super) fn held_by(&self, scraper: ScraperId) -> usize {
        self.by_scraper.get(&scraper).copied().unwrap_or(0)
    }

    pub(super) fn evict(&mut self, number: u64) {
        if let Some(signals) = self.close(number) {
            signals.evict();
        }
    }

    /// Frees the place of a connection; does nothing if the connection was evicted before.
    pub(super) fn close(&mut self, number: u64) -> Option<Arc<Signals>> {
        let OpenConnection {
            address,
            holder,
            signals,
        } = self.open.remove(&number)?;
        self.uncount(address, holder);
        if let Some(at) = self.by_address.get_mut(&address) {
            at.open = at.open.saturating_sub(1);
            if at.open == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(signals)
    }

    /// Subtracts a connection from the count of its holder.
    fn uncount(&mut self, address: IpAddr, holder: Holder) {
        match holder {
            Holder::Handshake(history) => {
                let unknown = usize::from(history == PeerHistory::Unknown);
                self.unknown = self.unknown.saturating_sub(unknown);
                if let Some(at) = self.by_address.get_mut(&address) {
                    at.handshakes = at.handshakes.saturating_sub(1);
                }
            }
            Holder::Scraper(scraper) => {
                self.authenticated = self.authenticated.saturating_sub(1);
                if let Some(held) = self.by_scraper.get_mut(&scraper) {
                    *held = held.saturating_sub(1);
                    if *held == 0 {
                        self.by_scraper.remove(&scraper);
                    }
                }
            }
        }
    }

    /// Counts a connection for its scraper from now on.
    pub(super) fn assign(&mut self, number: u64, scraper: ScraperId) {
        let Some(connection) = self.open.get_mut(&number) else {
            return;
        };
        let (address, before) = (connection.address, connection.holder);
        connection.holder = Holder::Scraper(scraper);
        self.uncount(address, before);
        self.authenticated += 1;
        *self.by_scraper.entry(scraper).or_default() += 1;
    }

    /// Notes that a scraper has authenticated from this address.
    pub(super) fn remember(&mut self, address: IpAddr) {
        let known = &mut self.known_addresses;
        if known.len() >= MAX_KNOWN_ADDRESSES && !known.contains_key(&address) {
            let oldest = known.iter().min_by_key(|(_, last)| **last);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                known.remove(&oldest);
            }
        }
        known.insert(address, Instant::now());
    }

    /// Forgets known addresses without a connected scraper.
    pub(super) fn forget_absent(&mut self) {
        let by_address = &self.by_address;
        self.known_addresses.retain(|address, _| {
            let at = by_address.get(address);
            at.is_some_and(|at| at.open > at.handshakes)
        });
    }

    /// Forgets this address, unless a scraper other than this one is connected from there.
    pub(super) fn forget_revoked(&mut self, address: IpAddr, revoked: ScraperId) {
        let mut others = self.open.values().filter(|connection| {
            let is_other = matches!(connection.holder, Holder::Scraper(other) if other != revoked);
            is_other && connection.address == address
        });
        if others.next().is_none() {
            self.known_addresses.remove(&address);
        }
    }
}
