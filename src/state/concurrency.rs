//! Limits how many scrapes of a service run at once, and queues the others.
//!
//! A service has `max_concurrent` slots, which all scrapers share. One scraper never takes the last of
//! several, so that its slow scrapes always leave a slot to the others. A scrape that finds no free
//! slot waits. A free slot goes to the scraper that holds the fewest, and among equals to the scrape
//! that has waited longest. So a scraper with ceaseless requests is served as often as the others, and
//! the others wait no longer than one scrape takes.
//!
//! A scrape waits until its deadline, and no longer than its scraper stays connected. Dropping the
//! future removes it from the queue.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::policy::identity::ScraperId;
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};

/// The slots of every service that is being scraped.
#[derive(Debug, Default)]
pub(crate) struct ConcurrencyLimiter(Mutex<HashMap<ServiceName, ServiceSlots>>);

/// The slots of one service: which scrapers hold them, and which scrapes wait for one.
#[derive(Debug, Default)]
struct ServiceSlots {
    max: usize,
    running: Vec<(ScraperId, usize)>,
    /// In order of arrival.
    waiting: Vec<Waiter>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    scraper: ScraperId,
    granted: oneshot::Sender<ConcurrencyGuard>,
}

/// Waiting scrapes of one scraper for one service.
const MAX_WAITING: usize = 64;

impl ConcurrencyLimiter {
    /// Takes a slot of a service, or waits for one.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if too many scrapes of this scraper wait already.
    pub(crate) async fn acquire(
        limiter: &Arc<Self>,
        service: &ServiceName,
        scraper: ScraperId,
        max: usize,
    ) -> Result<ConcurrencyGuard, Refused> {
        let mut waiting = match Self::join(limiter, service, scraper, max)? {
            Joined::Running(guard) => return Ok(guard),
            Joined::Waiting(waiting) => waiting,
        };
        let granted = (&mut waiting.granted).await;
        // The limiter outlives its waiters, so that this never fails.
        granted.map_err(|_| Refusal::Busy.into())
    }

    fn join(
        limiter: &Arc<Self>,
        service: &ServiceName,
        scraper: ScraperId,
        max: usize,
    ) -> Result<Joined, Refused> {
        let mut services = limiter.lock();
        if !services.contains_key(service) {
            services.insert(service.clone(), ServiceSlots::default());
        }
        let Some(slots) = services.get_mut(service) else {
            return Err(Refusal::Busy.into());
        };
        // A reload may have changed the limit.
        slots.max = max;
        if slots.may_run(scraper) {
            slots.begin(scraper);
            return Ok(Joined::Running(ConcurrencyGuard {
                limiter: Arc::clone(limiter),
                service: service.clone(),
                scraper,
            }));
        }
        let waiting = slots.waiting.iter();
        if waiting.filter(|waiter| waiter.scraper == scraper).count() >= MAX_WAITING {
            let detail = format_args!(
                "max_concurrent = {max}, and {MAX_WAITING} scrapes of this scraper wait"
            );
            return Err(Refused::new(Refusal::Busy, detail));
        }
        let ticket = slots.next_ticket;
        slots.next_ticket += 1;
        let (granted, receiver) = oneshot::channel();
        slots.waiting.push(Waiter {
            ticket,
            scraper,
            granted,
        });
        Ok(Joined::Waiting(Waiting {
            limiter: Arc::clone(limiter),
            service: service.clone(),
            ticket,
            granted: receiver,
        }))
    }

    /// Ends a scrape, and grants its slot to the next one in the queue.
    fn release(limiter: &Arc<Self>, service: &ServiceName, scraper: ScraperId) {
        let mut services = limiter.lock();
        let Some(slots) = services.get_mut(service) else {
            return;
        };
        slots.end(scraper);
        let mut unclaimed = Vec::new();
        while let Some(Waiter {
            scraper, granted, ..
        }) = slots.next()
        {
            slots.begin(scraper);
            let guard = ConcurrencyGuard {
                limiter: Arc::clone(limiter),
                service: service.clone(),
                scraper,
            };
            unclaimed.extend(granted.send(guard).err());
        }
        if slots.running.is_empty() && slots.waiting.is_empty() {
            services.remove(service);
        }
        // After the lock is released: dropping a guard takes it.
        drop(services);
        drop(unclaimed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceName, ServiceSlots>> {
        self.0.lock()
    }
}

impl ServiceSlots {
    /// Whether a slot is free, and this scraper may take it.
    fn may_run(&self, scraper: ScraperId) -> bool {
        let running: usize = self.running.iter().map(|(_, held)| held).sum();
        let max_of_one = self.max.saturating_sub(1).max(1);
        running < self.max && self.held_by(scraper) < max_of_one
    }

    fn held_by(&self, scraper: ScraperId) -> usize {
        let mut running = self.running.iter();
        let held = running.find(|(id, _)| *id == scraper);
        held.map_or(0, |(_, held)| *held)
    }

    fn begin(&mut self, scraper: ScraperId) {
        match self.running.iter_mut().find(|(id, _)| *id == scraper) {
            Some((_, held)) => *held += 1,
            None => self.running.push((scraper, 1)),
        }
    }

    fn end(&mut self, scraper: ScraperId) {
        if let Some((_, held)) = self.running.iter_mut().find(|(id, _)| *id == scraper) {
            *held = held.saturating_sub(1);
        }
        self.running.retain(|(_, held)| *held > 0);
    }

    /// Removes the next scrape from the queue, if a slot is free for any.
    fn next(&mut self) -> Option<Waiter> {
        let waiting = self.waiting.iter().enumerate();
        let allowed = waiting.filter(|(_, waiter)| self.may_run(waiter.scraper));
        let next =
            allowed.min_by_key(|(position, waiter)| (self.held_by(waiter.scraper), *position));
        let (position, _) = next?;
        Some(self.waiting.remove(position))
    }
}

enum Joined {
    Running(ConcurrencyGuard),
    Waiting(Waiting),
}

/// A scrape that waits for a slot; dropping it removes it from the queue.
#[derive(Debug)]
struct Waiting {
    limiter: Arc<ConcurrencyLimiter>,
    service: ServiceName,
    ticket: u64,
    /// Dropped after the scrape has left the queue: a slot granted meanwhile is freed by that.
    granted: oneshot::Receiver<ConcurrencyGuard>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut services = self.limiter.lock();
        if let Some(slots) = services.get_mut(&self.service) {
            slots.waiting.retain(|waiter| waiter.ticket != self.ticket);
        }
    }
}

/// The slot of a running scrape; dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct ConcurrencyGuard {
    limiter: Arc<ConcurrencyLimiter>,
    service: ServiceName,
    scraper: ScraperId,
}

impl Drop for ConcurrencyGuard {
    fn drop(&mut self) {
        ConcurrencyLimiter::release(&self.limiter, &self.service, self.scraper);
    }
}

#[cfg(test)]
mod tests;
