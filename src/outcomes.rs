//! What became of the last scrapes of each service, for the status page. Decides nothing.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::refusal::{Refusal, Refused};
use crate::service::ServiceName;

/// The last scrapes of every service that is known.
#[derive(Debug, Default)]
pub struct Outcomes(Mutex<HashMap<ServiceName, Recent>>);

/// The last scrapes of one service.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// The last one, whatever became of it.
    pub last: Option<Ended>,
    /// The last one that failed, which may be that one.
    pub failure: Option<Failure>,
}

/// A scrape that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
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
    /// What more is known, for the operator.
    pub detail: Option<String>,
}

/// From here on it is asked which of them are known still.
const MANY: usize = 1000;

impl Outcomes {
    pub(crate) fn scraped(&self, service: &ServiceName, duration: Duration, bytes: u64) {
        let last = Ended {
            at: SystemTime::now(),
            duration,
            outcome: Ok(bytes),
        };
        self.note(service, |recent| recent.last = Some(last));
    }

    pub(crate) fn failed(&self, service: &ServiceName, duration: Duration, refused: &Refused) {
        let at = SystemTime::now();
        let last = Ended {
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

    /// What is known of a service; nothing if it was not scraped since aegis runs.
    #[must_use]
    pub fn of(&self, service: &ServiceName) -> Recent {
        let services = self.0.lock().unwrap_or_else(|held| held.into_inner());
        services.get(service).cloned().unwrap_or_default()
    }

    /// Forgets a service, and says whether anything was known of it.
    pub(crate) fn forget(&self, service: &ServiceName) -> bool {
        let mut services = self.0.lock().unwrap_or_else(|held| held.into_inner());
        services.remove(service).is_some()
    }

    /// Where there are too many, forgets those that are not known any more, and says which.
    pub(crate) fn make_room_for(
        &self,
        service: &ServiceName,
        is_known: impl Fn(&ServiceName) -> bool,
    ) -> Vec<ServiceName> {
        let mut services = self.0.lock().unwrap_or_else(|held| held.into_inner());
        if services.len() < MANY || services.contains_key(service) {
            return Vec::new();
        }
        let forgotten = services.extract_if(|service, _| !is_known(service));
        forgotten.map(|(service, _)| service).collect()
    }

    fn note(&self, service: &ServiceName, change: impl FnOnce(&mut Recent)) {
        let mut services = self.0.lock().unwrap_or_else(|held| held.into_inner());
        match services.get_mut(service) {
            Some(recent) => change(recent),
            None => change(services.entry(service.clone()).or_default()),
        }
    }
}
