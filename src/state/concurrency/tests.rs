use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::policy::identity::Identity;

fn scraper(name: &str) -> ScraperId {
    let claim = format!("dns:{name}.example.org").parse().unwrap();
    Identity::claimed([claim]).unwrap().scraper()
}

fn acquire(
    limiter: &Arc<ConcurrencyLimiter>,
    name: &str,
    max: usize,
) -> Pin<Box<dyn Future<Output = Result<ConcurrencyGuard, Refused>>>> {
    let (limiter, scraper) = (Arc::clone(limiter), scraper(name));
    Box::pin(async move {
        let node = "node".parse().unwrap();
        ConcurrencyLimiter::acquire(&limiter, &node, scraper, max).await
    })
}

/// The slot that a scrape has been granted by now, if any.
fn granted(
    scrape: &mut (impl Future<Output = Result<ConcurrencyGuard, Refused>> + Unpin),
) -> Option<ConcurrencyGuard> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(scrape).poll(&mut context) {
        Poll::Ready(slot) => Some(slot.unwrap()),
        Poll::Pending => None,
    }
}

#[test]
fn one_scraper_never_takes_the_last_of_several_slots() {
    for (max, max_of_one) in [(1, 1), (2, 1), (4, 3)] {
        let limiter = Arc::default();
        let mut scrapes: Vec<_> = (0..max + 2)
            .map(|_| acquire(&limiter, "hog", max))
            .collect();
        let slots: Vec<_> = scrapes.iter_mut().filter_map(granted).collect();
        assert_eq!(slots.len(), max_of_one, "{max}");
        let other = granted(&mut acquire(&limiter, "other", max));
        assert_eq!(other.is_some(), max > 1, "{max}");
    }
}

#[test]
fn slots_go_to_the_scraper_with_the_fewest_then_in_order() {
    let limiter = Arc::default();
    let mut running: Vec<_> = ["hog", "hog", "other"]
        .map(|name| granted(&mut acquire(&limiter, name, 3)).unwrap())
        .into();
    let names = ["hog", "other", "third", "third", "fourth"];
    let mut waiting: Vec<_> = names.map(|name| acquire(&limiter, name, 3)).into();
    assert!(waiting.iter_mut().all(|scrape| granted(scrape).is_none()));
    let mut order = Vec::new();
    let mut slots = Vec::new();
    while let Some(first) = (!running.is_empty()).then(|| running.remove(0)) {
        drop(first);
        for (number, scrape) in waiting.iter_mut().enumerate() {
            if order.contains(&number) {
                continue;
            }
            if let Some(slot) = granted(scrape) {
                order.push(number);
                slots.push(slot);
            }
        }
    }
    // First the scraper that held none. Then, among equals, the first in the queue.
    assert_eq!(order, [2, 0, 1]);
}

#[test]
fn a_cancelled_wait_leaves_the_queue_and_returns_its_slot() {
    let limiter: Arc<ConcurrencyLimiter> = Arc::default();
    let running = granted(&mut acquire(&limiter, "a", 1)).unwrap();
    let mut waiting = ["b", "c", "d"].map(|name| acquire(&limiter, name, 1));
    assert!(waiting.iter_mut().all(|scrape| granted(scrape).is_none()));
    let [b, c, mut d] = waiting;
    drop(b);
    let queued: usize = limiter
        .lock()
        .values()
        .map(|slots| slots.waiting.len())
        .sum();
    assert_eq!(queued, 2);
    // The slot is granted to c, which is not polled any more.
    drop(running);
    assert!(granted(&mut d).is_none());
    drop(c);
    let slot = granted(&mut d).unwrap();
    drop(slot);
    assert!(limiter.lock().is_empty());
}

#[test]
fn the_queue_of_each_scraper_is_bounded_separately() {
    let limiter = Arc::default();
    let _running = granted(&mut acquire(&limiter, "hog", 1)).unwrap();
    let mut waiting: Vec<_> = (0..MAX_WAITING)
        .map(|_| acquire(&limiter, "hog", 1))
        .collect();
    assert!(waiting.iter_mut().all(|scrape| granted(scrape).is_none()));
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(refused) = acquire(&limiter, "hog", 1).as_mut().poll(&mut context) else {
        panic!("still waiting");
    };
    assert_eq!(refused.unwrap_err().refusal, Refusal::Busy);
    assert!(granted(&mut acquire(&limiter, "other", 1)).is_none());
}
