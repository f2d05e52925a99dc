//! When the certificates of the connected scrapers expire.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The number of connections for each expiry, in seconds since the Unix epoch.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients(Arc<Mutex<BTreeMap<i64, usize>>>);

impl Clients {
    pub(super) fn connected(&self, not_after: i64) -> ConnectedClient {
        let mut counts = self.0.lock();
        *counts.entry(not_after).or_insert(0) += 1;
        drop(counts);
        ConnectedClient {
            clients: self.clone(),
            not_after,
        }
    }

    /// When the first of them expires.
    pub(super) fn soonest(&self) -> Option<i64> {
        let counts = self.0.lock();
        counts.keys().next().copied()
    }
}

/// A scraper's certificate, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectedClient {
    clients: Clients,
    not_after: i64,
}

impl Drop for ConnectedClient {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock();
        if let Some(count) = counts.get_mut(&self.not_after) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.not_after);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soonest_expiry_is_that_of_a_connected_scraper() {
        let clients = Clients::default();
        assert_eq!(clients.soonest(), None);
        let later = clients.connected(20);
        let sooner = [clients.connected(10), clients.connected(10)];
        let [one, other] = sooner;
        drop(one);
        assert_eq!(clients.soonest(), Some(10));
        drop(other);
        assert_eq!(clients.soonest(), Some(20));
        drop(later);
        assert_eq!(clients.soonest(), None);
    }
}
