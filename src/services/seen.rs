//! The services that had a socket since aegis started, and when each was last seen.
//!
//! A service that is gone stays known for a while, so that discovery lists it and `up` goes to 0.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::policy::service_name::ServiceName;

/// The known services, with the time at which each last had a socket.
#[derive(Debug, Default)]
pub(super) struct SeenServices(Mutex<HashMap<ServiceName, Instant>>);

/// More services than any host has: a bound against attacks.
pub(super) const MAX_SERVICES: usize = 1000;

impl SeenServices {
    pub(super) fn contains(&self, service: &ServiceName) -> bool {
        self.0.lock().contains_key(service)
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().len()
    }

    pub(super) fn names(&self) -> BTreeSet<ServiceName> {
        self.0.lock().keys().cloned().collect()
    }

    /// How long ago a service was last seen with a socket.
    pub(super) fn last_seen(&self, service: &ServiceName) -> Option<Duration> {
        let seen = self.0.lock();
        seen.get(service).map(Instant::elapsed)
    }

    /// Notes that a service has a socket now.
    pub(super) fn note(&self, service: &ServiceName) {
        self.note_all(std::slice::from_ref(service), false);
    }

    /// Notes all services that have a socket now. If there are too many, it forgets those that are
    /// gone.
    pub(super) fn note_listed(&self, there: &[ServiceName]) {
        self.note_all(there, true);
    }

    fn note_all(&self, there: &[ServiceName], is_complete: bool) {
        let now = Instant::now();
        let mut seen = self.0.lock();
        let fresh = there.iter().filter(|service| !seen.contains_key(*service));
        if is_complete && seen.len() + fresh.count() > MAX_SERVICES {
            let there = BTreeSet::from_iter(there);
            seen.retain(|service, _| there.contains(service));
        }
        for service in there {
            let has_room = seen.len() < MAX_SERVICES;
            match seen.get_mut(service) {
                Some(last) => *last = now,
                None if has_room => {
                    seen.insert(service.clone(), now);
                }
                None => {}
            }
        }
    }

    /// Forgets a service, and returns whether it was known.
    pub(super) fn forget(&self, service: &ServiceName) -> bool {
        self.0.lock().remove(service).is_some()
    }

    /// Forgets the services that have had no socket for this long, and returns their names.
    pub(super) fn expire(
        &self,
        forget_after: Duration,
        is_kept: impl Fn(&ServiceName) -> bool,
    ) -> Vec<ServiceName> {
        let now = Instant::now();
        let mut seen = self.0.lock();
        let is_expired = |service: &ServiceName, last: &mut Instant| {
            now.duration_since(*last) >= forget_after && !is_kept(service)
        };
        let expired = seen.extract_if(is_expired);
        expired.map(|(service, _)| service).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_service_expires_once_its_socket_was_away_for_long_enough() {
        let [gone, there, configured] =
            ["gone", "there", "configured"].map(|name| name.parse::<ServiceName>().unwrap());
        let seen = SeenServices::default();
        seen.note_listed(&[gone.clone(), there.clone(), configured.clone()]);
        let day = Duration::from_secs(24 * 60 * 60);
        let expire = || seen.expire(day, |service| *service == configured);
        advance(day - Duration::from_secs(1)).await;
        assert_eq!(expire(), []);
        seen.note(&there);
        advance(Duration::from_secs(1)).await;
        assert_eq!(expire(), std::slice::from_ref(&gone));
        assert!(!seen.contains(&gone) && seen.contains(&there));
        assert_eq!(seen.count(), 2);
    }
}
