//! The last scrapes of each service, for the status page. Decides nothing.
//!
//! One service takes less than 1 KiB, and there are at most a thousand.

mod history;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};
pub(crate) use history::MAX_SCRAPES;
pub use history::{History, PastScrape};

/// The last scrapes of every known service.
#[derive(Debug, Default)]
pub struct LastScrapes(Mutex<HashMap<ServiceName, Recent>>);

/// The last scrapes of one service.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// The last one, successful or not.
    pub last: Option<LastScrape>,
    /// The last one that failed; it may be the same.
    pub failure: Option<Failure>,
    /// When the last one that succeeded ended.
    pub succeeded: Option<SystemTime>,
    /// When the first failure since then ended; `None` if the last one succeeded.
    pub failing_since: Option<SystemTime>,
    /// Those before the last. Boxed: in the map it would take up the room of free slots as well.
    pub history: Box<History>,
}

/// A scrape that has ended.
#[derive(Clone, Copy, Debug)]
pub struct LastScrape {
    /// When.
    pub at: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// The bytes of its body, or why it failed.
    pub outcome: Result<u64, Refusal>,
}

/// A scrape that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When.
    pub at: SystemTime,
    /// Why.
    pub refusal: Refusal,
    /// Details for the operator.
    pub detail: Option<String>,
}

/// More than this evict services that are gone.
const MAX_TRACKED: usize = 1000;

impl LastScrapes {
    pub(crate) fn scraped(&self, service: &ServiceName, duration: Duration, bytes: u64) {
        let at = SystemTime::now();
        self.note(service, |recent| {
            recent.succeeded = Some(at);
            recent.failing_since = None;
            recent.add(LastScrape {
                at,
                duration,
                outcome: Ok(bytes),
            });
        });
    }

    pub(crate) fn failed(&self, service: &ServiceName, duration: Duration, refused: &Refused) {
        let at = SystemTime::now();
        let failure = Failure {
            at,
            refusal: refused.refusal,
            detail: refused.detail.clone(),
        };
        self.note(service, |recent| {
            recent.failing_since.get_or_insert(at);
            recent.failure = Some(failure);
            recent.add(LastScrape {
                at,
                duration,
                outcome: Err(refused.refusal),
            });
        });
    }

    /// The last scrapes of a service; empty if it was not scraped since aegis started.
    #[must_use]
    pub fn of(&self, service: &ServiceName) -> Recent {
        let services = self.0.lock();
        services.get(service).cloned().unwrap_or_default()
    }

    /// Forgets a service, and returns whether it was known.
    pub(crate) fn forget(&self, service: &ServiceName) -> bool {
        let mut services = self.0.lock();
        services.remove(service).is_some()
    }

    /// If there are too many, evicts services that are no longer known, and returns their names.
    pub(crate) fn evict(
        &self,
        service: &ServiceName,
        is_known: impl Fn(&ServiceName) -> bool,
    ) -> Vec<ServiceName> {
        let mut services = self.0.lock();
        if services.len() < MAX_TRACKED || services.contains_key(service) {
            return Vec::new();
        }
        let forgotten = services.extract_if(|service, _| !is_known(service));
        forgotten.map(|(service, _)| service).collect()
    }

    fn note(&self, service: &ServiceName, change: impl FnOnce(&mut Recent)) {
        let mut services = self.0.lock();
        match services.get_mut(service) {
            Some(recent) => change(recent),
            None => change(services.entry(service.clone()).or_default()),
        }
    }
}

impl Recent {
    fn add(&mut self, last: LastScrape) {
        self.history.add(PastScrape {
            duration: last.duration,
            has_failed: last.outcome.is_err(),
        });
        self.last = Some(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_fails_since_its_first_failure_after_a_success() {
        let scrapes = LastScrapes::default();
        let name: ServiceName = "node".parse().unwrap();
        let fail = || {
            scrapes.failed(&name, Duration::ZERO, &Refusal::Status.into());
            scrapes.of(&name)
        };
        let first = fail();
        assert_eq!(first.succeeded, None);
        assert_eq!(first.failing_since, first.failure.map(|failure| failure.at));
        assert_eq!(fail().failing_since, first.failing_since);
        scrapes.scraped(&name, Duration::ZERO, 1);
        let good = scrapes.of(&name);
        assert_eq!(good.succeeded, good.last.map(|last| last.at));
        assert_eq!(good.failing_since, None);
        let again = fail();
        assert_eq!(again.succeeded, good.succeeded);
        assert_eq!(again.failing_since, again.failure.map(|failure| failure.at));
        assert_eq!(again.history.failures_in_last_hour(), 3);
        assert!(scrapes.forget(&name));
        assert_eq!(scrapes.of(&name).history.scrapes().count(), 0);
    }
}
