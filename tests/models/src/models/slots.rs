//! `state/concurrency.rs`: the slots of a service.
//!
//! - At most `max` scrapes run at once, and at most `max - 1` of one scraper: no slot is given twice.
//! - Each scrape that waits is granted a slot once one is free: no slot is lost, and no wake-up. A
//!   lost one is a deadlock here.
//! - At the end, all slots are free.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::future::{block_on, spawn};
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::poll_now;
use crate::policy::identity::ScraperId;
use crate::policy::service_name::ServiceName;
use crate::state::{ConcurrencyGuard, ConcurrencyLimiter};

#[derive(Default)]
struct World {
    limiter: Arc<ConcurrencyLimiter>,
    running: AtomicUsize,
    of_first: AtomicUsize,
}

const MAX: usize = 2;
const FIRST: ScraperId = ScraperId(1);
const SECOND: ScraperId = ScraperId(2);

fn service() -> ServiceName {
    "node".parse().unwrap()
}

impl World {
    async fn acquire(&self, scraper: ScraperId) -> ConcurrencyGuard {
        let guard = ConcurrencyLimiter::acquire(&self.limiter, &service(), scraper, MAX).await;
        guard.unwrap()
    }

    async fn hold(&self, scraper: ScraperId, guard: ConcurrencyGuard) {
        assert!(self.running.fetch_add(1, Ordering::SeqCst) < MAX);
        if scraper == FIRST {
            assert!(self.of_first.fetch_add(1, Ordering::SeqCst) < MAX - 1);
        }
        yield_now().await;
        if scraper == FIRST {
            self.of_first.fetch_sub(1, Ordering::SeqCst);
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        drop(guard);
    }

    async fn scrape(&self, scraper: ScraperId) {
        let guard = self.acquire(scraper).await;
        self.hold(scraper, guard).await;
    }

    fn assert_all_are_free(&self) {
        let one = poll_now(self.acquire(FIRST)).expect("a slot is free");
        let other = poll_now(self.acquire(SECOND)).expect("another slot is free");
        assert!(poll_now(self.acquire(SECOND)).is_none());
        drop((one, other));
    }
}

/// Two scrapers with two scrapes each.
pub(crate) fn exclusive() {
    let world = Arc::new(World::default());
    let scrapes = [FIRST, FIRST, SECOND, SECOND].map(|scraper| {
        let world = Arc::clone(&world);
        spawn(async move { world.scrape(scraper).await })
    });
    for scrape in scrapes {
        block_on(scrape).unwrap();
    }
    world.assert_all_are_free();
}

/// Scrapes whose scrapers disconnect at any moment: while they wait, and while they are granted a
/// slot.
pub(crate) fn giving_up() {
    let world = Arc::new(World::default());
    let disconnects: [Arc<Notify>; 2] = Default::default();
    let mut tasks = Vec::new();
    for scraper in [FIRST, SECOND] {
        let world = Arc::clone(&world);
        tasks.push(spawn(async move { world.scrape(scraper).await }));
    }
    for (scraper, disconnect) in [FIRST, SECOND].into_iter().zip(&disconnects) {
        let (world, disconnect) = (Arc::clone(&world), Arc::clone(disconnect));
        tasks.push(spawn(async move {
            tokio::select! {
                biased;
                guard = world.acquire(scraper) => world.hold(scraper, guard).await,
                () = disconnect.notified() => {}
            }
        }));
    }
    for disconnect in &disconnects {
        disconnect.notify_one();
    }
    for task in tasks {
        block_on(task).unwrap();
    }
    world.assert_all_are_free();
}
