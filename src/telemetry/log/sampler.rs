//! Samples messages that unknown clients can cause in any number.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::refusal::Refusal;

/// Passes one refusal of each reason and address a minute, so that an operator sees an expired
/// certificate at the default log level, and a scan still cannot fill a disk.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    reasons: Mutex<HashMap<Refusal, Reason>>,
    /// When an accept error was last logged.
    accept_error: Mutex<Option<Instant>>,
}

/// The refusals of one reason.
#[derive(Debug, Default)]
struct Reason {
    addresses: HashMap<IpAddr, Repeated>,
    /// Those of addresses for which there is no room.
    others: Option<Repeated>,
}

#[derive(Debug)]
struct Repeated {
    logged: Instant,
    suppressed: u64,
}

/// Whether a refusal is logged at the default level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampled {
    /// It is logged, and so many of its kind were suppressed since the last one.
    Logged { suppressed: u64 },
    /// One of its kind was logged less than a minute ago.
    Suppressed,
}

impl Sampler {
    /// Decides whether a refusal of a client at this address is logged.
    pub(crate) fn sample(&self, refusal: Refusal, address: IpAddr) -> Sampled {
        let mut reasons = self.reasons.lock();
        let reason = reasons.entry(refusal).or_default();
        reason.sample(address, Instant::now())
    }

    /// Decides whether an accept error is logged, for all threads together.
    pub(crate) fn sample_accept_error(&self) -> bool {
        let now = Instant::now();
        let mut last = self.accept_error.lock();
        let is_due = last.is_none_or(|last| now.duration_since(last) >= SAMPLE_INTERVAL);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

impl Reason {
    fn sample(&mut self, address: IpAddr, now: Instant) -> Sampled {
        if let Some(repeated) = self.addresses.get_mut(&address) {
            return repeated.sample(now);
        }
        if self.addresses.len() >= MAX_ADDRESSES {
            self.drop_old(now);
        }
        if self.addresses.len() < MAX_ADDRESSES {
            self.addresses.insert(address, Repeated::new(now));
            return Sampled::Logged { suppressed: 0 };
        }
        match &mut self.others {
            Some(others) => others.sample(now),
            others => {
                *others = Some(Repeated::new(now));
                Sampled::Logged { suppressed: 0 }
            }
        }
    }

    /// Makes room. What was suppressed for an address is counted with the others.
    fn drop_old(&mut self, now: Instant) {
        let old = self
            .addresses
            .extract_if(|_, repeated| repeated.is_due(now));
        let suppressed: u64 = old.map(|(_, repeated)| repeated.suppressed).sum();
        if suppressed > 0 {
            let others = self.others.get_or_insert_with(|| Repeated::new(now));
            others.suppressed = others.suppressed.saturating_add(suppressed);
        }
    }
}

impl Repeated {
    fn new(now: Instant) -> Self {
        Self {
            logged: now,
            suppressed: 0,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.logged) >= SAMPLE_INTERVAL
    }

    fn sample(&mut self, now: Instant) -> Sampled {
        if !self.is_due(now) {
            self.suppressed = self.suppressed.saturating_add(1);
            return Sampled::Suppressed;
        }
        let suppressed = self.suppressed;
        *self = Self::new(now);
        Sampled::Logged { suppressed }
    }
}

const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

/// For each reason. A scan from more addresses logs no more than this and one more line a minute.
const MAX_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const LOGGED: Sampled = Sampled::Logged { suppressed: 0 };

    fn address(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    #[test]
    fn repeated_refusals_are_sampled_by_reason_and_address() {
        let sampler = Sampler::default();
        assert_eq!(sampler.sample(Refusal::Network, address(1)), LOGGED);
        let again = sampler.sample(Refusal::Network, address(1));
        assert_eq!(again, Sampled::Suppressed);
        assert_eq!(sampler.sample(Refusal::Network, address(2)), LOGGED);
        assert_eq!(sampler.sample(Refusal::Expired, address(1)), LOGGED);
    }

    #[test]
    fn a_scan_from_many_addresses_logs_few_lines_a_minute() {
        let mut reason = Reason::default();
        let start = Instant::now();
        let scan = |reason: &mut Reason, now| {
            let logged = (0..=255).map(|number| reason.sample(address(number), now));
            logged
                .filter(|sampled| *sampled != Sampled::Suppressed)
                .count()
        };
        assert_eq!(scan(&mut reason, start), MAX_ADDRESSES + 1);
        assert_eq!(scan(&mut reason, start), 0);
        let later = start + SAMPLE_INTERVAL;
        assert_eq!(
            reason.sample(address(0), later),
            Sampled::Logged { suppressed: 1 }
        );
        // 15 addresses make room, each with one that was suppressed, for 15 others.
        let fresh = reason.sample(address(200), later);
        assert_eq!(fresh, LOGGED);
        let others = reason.others.as_ref().unwrap();
        assert_eq!(others.suppressed, 239 + 240 + 15);
    }
}
