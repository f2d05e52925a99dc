//! Throttles answers that never pause, so that they do not occupy a core.
//!
//! While both sides of a scrape are always ready, its thread never waits. Two such scrapes keep two
//! cores busy, and everything else on the host waits for the end of a time slice of the kernel. So a
//! scrape that has worked for longer than a usual answer needs then works in short pieces and rests
//! after each. Only one scrape rests at a time, so that any number of them together use no more than
//! one.

use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::sleep;

/// Measures how long a scrape has kept its thread busy, and makes it rest.
#[derive(Debug, Default)]
pub(super) struct Pace {
    worked: Duration,
    since_rest: Duration,
}

impl Pace {
    /// Runs a part of a scrape, and counts how long it keeps the thread busy; waiting does not count.
    pub(super) async fn work<F: Future>(&mut self, part: F) -> F::Output {
        let mut part = pin!(part);
        poll_fn(|context| {
            let start = Instant::now();
            let polled = part.as_mut().poll(context);
            self.add(start.elapsed());
            polled
        })
        .await
    }

    fn add(&mut self, worked: Duration) {
        self.worked += worked;
        self.since_rest += worked;
    }

    /// Yields to other tasks, and rests if the scrape has worked for long.
    pub(super) async fn rest(&mut self) {
        if self.worked < MAX_UNPACED || self.since_rest < MAX_PIECE {
            return yield_now().await;
        }
        self.since_rest = Duration::ZERO;
        // The semaphore is never closed, so that this cannot fail.
        let permit = RESTS.acquire().await;
        sleep(REST).await;
        drop(permit);
    }
}

/// More than 20 MiB need on one core of a server.
const MAX_UNPACED: Duration = Duration::from_millis(25);

/// Less than the kernel's time slice, so that another process rarely waits for its end.
const MAX_PIECE: Duration = Duration::from_millis(1);

/// The timer has a resolution of one millisecond, and rounds up.
const REST: Duration = Duration::from_millis(2);

/// One at a time in the whole process.
static RESTS: Semaphore = Semaphore::const_new(1);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scrape_rests_after_25_ms_of_work() {
        let mut pace = Pace::default();
        let begun = Instant::now();
        pace.add(MAX_UNPACED - MAX_PIECE);
        pace.rest().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        pace.add(MAX_PIECE);
        pace.rest().await;
        let rested = begun.elapsed();
        assert!(rested >= REST, "{rested:?}");
        pace.add(MAX_PIECE / 2);
        pace.rest().await;
        assert_eq!(begun.elapsed(), rested);
        pace.add(MAX_PIECE / 2);
        pace.rest().await;
        assert!(begun.elapsed() >= rested + REST);
    }

    #[tokio::test(start_paused = true)]
    async fn scrapes_rest_one_at_a_time() {
        let begun = Instant::now();
        let rest = async || {
            let mut pace = Pace::default();
            pace.add(MAX_UNPACED);
            pace.rest().await;
        };
        tokio::join!(rest(), rest(), rest());
        assert!(begun.elapsed() >= REST * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_does_not_count_as_work() {
        let mut pace = Pace::default();
        pace.work(sleep(MAX_UNPACED * 100)).await;
        assert!(pace.worked < MAX_UNPACED, "{:?}", pace.worked);
    }
}
