//! The last scrapes of each service, for the status page. Decides nothing.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};

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
        let last = LastScrape {
            at: SystemTime::now(),
            duration,
            outcome: Ok(bytes),
        };
        self.note(service, |recent| recent.last = Some(last));
    }

    pub(crate) fn failed(&self, service: &ServiceName, duration: Duration, refused: &Refused) {
        let at = SystemTime::now();
        let last = LastScrape {
            at,
            duration,
            outcome: Err(refused.refusal),
        };
        let failure = Failure {
            at,
            refusal: refused.refusal,
            detail: refused.detail.clone(),
        };
        self.note(service, |recent| {
            *recent = Recent {
                last: Some(last),
                failure: Some(failure),
            };
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
