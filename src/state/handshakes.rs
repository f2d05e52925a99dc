//! Limits how many handshakes compute at once.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;

use super::connections::PeerHistory;

/// Limits the computation of handshakes.
///
/// Unknown addresses share one permit. A flood of their handshakes would otherwise keep every core
/// busy, services on this host would wait for a core, and handshakes of known addresses would queue
/// behind each hello of the flood.
#[derive(Debug)]
pub(crate) struct HandshakeLimiter {
    all: Semaphore,
    unknown: Semaphore,
}

impl HandshakeLimiter {
    pub(crate) fn new(at_once: usize) -> Self {
        Self {
            all: Semaphore::new(at_once),
            unknown: Semaphore::new(1),
        }
    }

    /// Runs a handshake, with a permit for each step. A permit is held while the costly answer to a
    /// hello is computed or a chain is verified, and until the other tasks of this thread have run
    /// once. It is never held while the handshake waits for its scraper: a few silent scrapers would
    /// otherwise block all others.
    pub(crate) async fn run<F: Future>(&self, handshake: F, history: PeerHistory) -> F::Output {
        let mut handshake = pin!(handshake);
        let notify = Arc::new(NotifyWaker::default());
        let waker = Waker::from(Arc::clone(&notify));
        loop {
            let unknown_permit = match history {
                PeerHistory::Unknown => Some(self.unknown.acquire().await),
                PeerHistory::Authenticated => None,
            };
            let permit = self.all.acquire().await;
            let step = handshake.as_mut().poll(&mut Context::from_waker(&waker));
            // Most handshakes of a flood end here, at little cost.
            if let Poll::Ready(output) = step {
                return output;
            }
            yield_now().await;
            drop((permit, unknown_permit));
            notify.0.notified().await;
        }
    }
}

/// A waker that notifies the one task that waits for it.
#[derive(Debug, Default)]
struct NotifyWaker(Notify);

impl Wake for NotifyWaker {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::{pending, poll_fn};
    use std::pin::Pin;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn each_handshake_step_takes_a_permit_and_none_is_held_while_waiting() {
        const STEPS: usize = 3;
        for history in [PeerHistory::Unknown, PeerHistory::Authenticated] {
            let limiter = HandshakeLimiter::new(1);
            let (scraper, mut hello) = mpsc::channel(1);
            let handshake = async {
                for _ in 0..STEPS {
                    assert_eq!(limiter.all.available_permits(), 0);
                    hello.recv().await.unwrap();
                }
                assert_eq!(limiter.all.available_permits(), 0);
            };
            let steps = async {
                for _ in 0..STEPS {
                    drop(limiter.unknown.acquire().await);
                    drop(limiter.all.acquire().await);
                    scraper.send(()).await.unwrap();
                }
            };
            tokio::join!(limiter.run(handshake, history), steps);
            assert_eq!(limiter.all.available_permits(), 1);
            assert_eq!(limiter.unknown.available_permits(), 1);
        }
    }

    #[tokio::test]
    async fn unknown_addresses_compute_one_at_a_time_and_do_not_delay_known_ones() {
        let limiter = HandshakeLimiter::new(4);
        let computed = RefCell::new(Vec::new());
        let handshake = |name: &'static str| {
            let computed = &computed;
            async move {
                computed.borrow_mut().push(name);
                pending::<()>().await;
            }
        };
        let mut first = pin!(limiter.run(handshake("first unknown"), PeerHistory::Unknown));
        let mut second = pin!(limiter.run(handshake("second unknown"), PeerHistory::Unknown));
        let mut known = pin!(limiter.run(handshake("known"), PeerHistory::Authenticated));
        poll_pending(first.as_mut()).await;
        poll_pending(second.as_mut()).await;
        assert_eq!(*computed.borrow(), ["first unknown"]);
        poll_pending(known.as_mut()).await;
        assert_eq!(*computed.borrow(), ["first unknown", "known"]);
        // The other tasks have run; the first handshake now waits for its scraper.
        poll_pending(first.as_mut()).await;
        poll_pending(second.as_mut()).await;
        let all = ["first unknown", "known", "second unknown"];
        assert_eq!(*computed.borrow(), all);
    }

    /// Polls a handshake once.
    async fn poll_pending(mut handshake: Pin<&mut impl Future<Output = ()>>) {
        poll_fn(|context| {
            assert!(handshake.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }
}
