//! A clock that stands still until a model advances it: time can pass between any two steps.
//!
//! It takes the place of `tokio::time`. A task that waits for time alone, while no task advances the
//! clock, is a deadlock, which shuttle reports.

use std::ops::Add;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

shuttle::lazy_static! {
    static ref NOW: AtomicU64 = AtomicU64::new(0);
    static ref SLEEPERS: Mutex<Vec<(u64, Waker)>> = Mutex::new(Vec::new());
}

/// Milliseconds since the model began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u64);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(NOW.load(Ordering::SeqCst))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_millis(Self::now().0.saturating_sub(self.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + u64::try_from(duration.as_millis()).unwrap())
    }
}

/// Lets time pass, and wakes what has waited for it.
pub(crate) fn advance(duration: Duration) {
    let now = Instant::now() + duration;
    let mut sleepers = SLEEPERS.lock();
    NOW.store(now.0, Ordering::SeqCst);
    let (due, rest) = sleepers.drain(..).partition(|(at, _)| *at <= now.0);
    *sleepers = rest;
    drop(sleepers);
    let due: Vec<(u64, Waker)> = due;
    due.into_iter().for_each(|(_, waker)| waker.wake());
}

pub(crate) struct Sleep(Instant);

pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    Sleep(deadline)
}

pub(crate) fn sleep(duration: Duration) -> Sleep {
    Sleep(Instant::now() + duration)
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // The lock comes first: the clock does not advance between the look and the entry.
        let mut sleepers = SLEEPERS.lock();
        if Instant::now() >= self.0 {
            return Poll::Ready(());
        }
        sleepers.push((self.0.0, context.waker().clone()));
        Poll::Pending
    }
}

/// The deadline came first.
#[derive(Debug)]
pub(crate) struct Elapsed;

pub(crate) async fn timeout_at<F: Future>(
    deadline: Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        () = sleep_until(deadline) => Err(Elapsed),
    }
}

pub(crate) async fn timeout<F: Future>(
    duration: Duration,
    future: F,
) -> Result<F::Output, Elapsed> {
    timeout_at(Instant::now() + duration, future).await
}
