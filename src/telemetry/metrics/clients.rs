//! The validity of the certificates of the connected scrapers.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::validity::Validity;

/// The number of connections for each validity.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients(Arc<Mutex<BTreeMap<Validity, usize>>>);

impl Clients {
    pub(super) fn connected(&self, validity: Validity) -> ConnectedClient {
        let mut counts = self.0.lock();
        *counts.entry(validity).or_insert(0) += 1;
        drop(counts);
        ConnectedClient {
            clients: self.clone(),
            validity,
        }
    }

    /// The validity of the one that expires first.
    pub(super) fn soonest(&self) -> Option<Validity> {
        let counts = self.0.lock();
        counts.keys().next().copied()
    }
}

/// A scraper's certificate, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectedClient {
    clients: Clients,
    validity: Validity,
}

impl Drop for ConnectedClient {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock();
        if let Some(count) = counts.get_mut(&self.validity) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.validity);
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
        // The later one is also the older one.
        let [first, last] = [(5, 10), (1, 20)].map(|(not_before, not_after)| Validity {
            not_after,
            not_before,
        });
        let later = clients.connected(last);
        let sooner = [clients.connected(first), clients.connected(first)];
        let [one, other] = sooner;
        drop(one);
        assert_eq!(clients.soonest(), Some(first));
        drop(other);
        assert_eq!(clients.soonest(), Some(last));
        drop(later);
        assert_eq!(clients.soonest(), None);
    }
}
