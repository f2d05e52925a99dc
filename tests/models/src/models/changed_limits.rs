//! `state.rs` (`replace`), `state/handshakes.rs` and `state/concurrency.rs`: a reload changes a limit
//! that is in use.
//!
//! - A reload that keeps `handshakes` also keeps its permits: never more than `handshakes` compute at
//!   once, whenever the reload comes.
//! - After a reload that changes `handshakes`, exactly the new number can compute at once. Those that
//!   begin after it compute within the new number; those that have begun before it end within the old
//!   one.
//! - Once a scrape has asked with a new `max_concurrent`, none begins while that many run, also not
//!   from the queue. A greater one gives its slots to the next scrapes.
//!
//! A scrape that the gate before has let in may still ask with the old `max_concurrent`, and bring it
//! back until the next scrape asks. So all of those have asked here before a scrape asks with the new
//! one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::future::{JoinHandle, block_on, spawn};
use shuttle::rand::{Rng as _, thread_rng};
use tokio::task::yield_now;

use super::handshakes::{Computing, compute_at_once, handshake};
use super::{aegis_with, poll_now};
use crate::config::Limits;
use crate::gate::Gate;
use crate::policy::identity::ScraperId;
use crate::state::{ConcurrencyGuard, ConcurrencyLimiter, PeerHistory, State};
use crate::wire::wire;

const BEFORE: usize = 2;

fn limits(handshakes: usize) -> Limits {
    Limits {
        handshakes,
        ..Limits::WIDE
    }
}

fn reload(state: &State, handshakes: usize) {
    let gate = Gate::open(2);
    let limits = limits(handshakes);
    drop(state.replace(Gate { limits, ..gate }));
}

/// Begins a handshake as a connection does, with the limiter in force.
fn begin(state: &State, computing: &Arc<Computing>) -> JoinHandle<()> {
    let (ours, scraper) = wire();
    let (limiter, computing) = (state.handshakes(), Arc::clone(computing));
    spawn(async move {
        scraper.send(1);
        scraper.send(2);
        handshake(&limiter, &computing, ours, PeerHistory::Authenticated).await;
    })
}

fn assert_at_once(state: &State, max: usize) {
    let limiter = state.handshakes();
    assert_eq!(compute_at_once(&limiter, PeerHistory::Authenticated), max);
    assert_eq!(compute_at_once(&limiter, PeerHistory::Unknown), 1);
}

/// Handshakes before and after a reload of the same limit.
pub(crate) fn kept() {
    let (state, _requests) = aegis_with(limits(BEFORE));
    let computing = Computing::at_most(BEFORE);
    let mut handshakes = vec![begin(&state, &computing), begin(&state, &computing)];
    reload(&state, BEFORE);
    handshakes.extend([begin(&state, &computing), begin(&state, &computing)]);
    for handshake in handshakes {
        block_on(handshake).unwrap();
    }
    assert_at_once(&state, BEFORE);
}

/// Handshakes before a reload of a smaller or greater limit, and handshakes after it.
pub(crate) fn handshakes() {
    let after = if thread_rng().r#gen() { 1 } else { 3 };
    let (state, _requests) = aegis_with(limits(BEFORE));
    let old = Computing::at_most(BEFORE);
    let mut handshakes: Vec<_> = (0..=BEFORE).map(|_| begin(&state, &old)).collect();
    let new = Computing::at_most(after);
    reload(&state, after);
    handshakes.extend((0..=after).map(|_| begin(&state, &new)));
    for handshake in handshakes {
        block_on(handshake).unwrap();
    }
    assert_at_once(&state, after);
}

/// Scrapes of one service.
#[derive(Default)]
struct Scrapes {
    limiter: Arc<ConcurrencyLimiter>,
    running: AtomicUsize,
}

const OLD_MAX: usize = 3;
const NEW_MAX: usize = 1;

impl Scrapes {
    /// Asks for a slot with this limit. What it returns waits for the slot.
    fn ask(
        &self,
        scraper: u8,
        max: usize,
    ) -> impl Future<Output = ConcurrencyGuard> + Send + use<> {
        let limiter = Arc::clone(&self.limiter);
        let mut waiting = Box::pin(async move {
            let service = "node".parse().unwrap();
            let slot = ConcurrencyLimiter::acquire(&limiter, &service, ScraperId(scraper), max);
            slot.await.unwrap()
        });
        let at_once = poll_now(waiting.as_mut());
        async move {
            match at_once {
                Some(guard) => guard,
                None => waiting.await,
            }
        }
    }

    /// Runs, next to at most so many.
    async fn run(&self, guard: ConcurrencyGuard, max: usize) {
        assert!(self.running.fetch_add(1, Ordering::SeqCst) < max);
        yield_now().await;
        assert!(self.running.fetch_sub(1, Ordering::SeqCst) <= max);
        drop(guard);
    }
}

/// Scrapes that run, and one that waits; then scrapes that ask with a smaller limit.
pub(crate) fn max_concurrent() {
    let scrapes = Arc::<Scrapes>::default();
    let scrape = |scraper, max| {
        let asked = scrapes.ask(scraper, max);
        let scrapes = Arc::clone(&scrapes);
        spawn(async move { scrapes.run(asked.await, max).await })
    };
    // One scraper may have two of three slots.
    let old = [1, 1, 2, 2].map(|scraper| scrape(scraper, OLD_MAX));
    let new = [1, 2].map(|scraper| scrape(scraper, NEW_MAX));
    for scrape in old.into_iter().chain(new) {
        block_on(scrape).unwrap();
    }
    assert_eq!(scrapes.running.load(Ordering::SeqCst), 0);
    raise(&scrapes);
}

/// A scrape runs with the smaller limit; the next ones ask with the greater one.
fn raise(scrapes: &Scrapes) {
    let mut begun = Vec::from_iter(poll_now(scrapes.ask(1, NEW_MAX)));
    assert_eq!(begun.len(), NEW_MAX);
    assert!(poll_now(scrapes.ask(2, NEW_MAX)).is_none());
    begun.extend([1, 2].map(|scraper| poll_now(scrapes.ask(scraper, OLD_MAX)).unwrap()));
    assert!(poll_now(scrapes.ask(2, OLD_MAX)).is_none());
}
