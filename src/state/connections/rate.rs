//! Limits how fast one address may open connections.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;

use crate::config::Limits;
use crate::refusal::Refusal;

/// The rate limiter of all addresses, made at the first connection.
#[derive(Debug, Default)]
pub(super) struct RateLimits(Mutex<Option<AddressLimiter>>);

/// A rate limiter by the limits of one gate.
#[derive(Debug)]
struct AddressLimiter {
    per_second: u32,
    burst: u32,
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
}

impl AddressLimiter {
    fn new(limits: &Limits) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(limits.connection_rate))
            .allow_burst(at_least_one(limits.connection_burst));
        Self {
            per_second: limits.connection_rate,
            burst: limits.connection_burst,
            limiter: RateLimiter::hashmap(quota),
        }
    }

    fn has_limits(&self, limits: &Limits) -> bool {
        (self.per_second, self.burst) == (limits.connection_rate, limits.connection_burst)
    }
}

impl RateLimits {
    pub(super) fn check(&self, address: IpAddr, limits: &Limits) -> Result<(), Refusal> {
        let mut current = self.0.lock();
        if current
            .as_ref()
            .is_some_and(|limiter| !limiter.has_limits(limits))
        {
            *current = None;
        }
        let limiter = &current
            .get_or_insert_with(|| AddressLimiter::new(limits))
            .limiter;
        // Addresses with a full burst again are forgotten. An attacker with more addresses than fit
        // is refused, not remembered.
        if limiter.len() >= MAX_TRACKED_ADDRESSES {
            limiter.retain_recent();
            if limiter.len() >= MAX_TRACKED_ADDRESSES {
                return Err(Refusal::Rate);
            }
        }
        limiter.check_key(&address).map_err(|_| Refusal::Rate)
    }
}

/// Takes about 3 MiB at most.
const MAX_TRACKED_ADDRESSES: usize = 32_768;
