//! Who computes the next step of a handshake, and when.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;

use super::super::admit::Standing;

/// The turns at what handshakes have to compute.
///
/// Strangers have one between them. A flood of them would otherwise keep every core busy, so that
/// the services behind aegis had to wait for one, and whoever was there before would queue behind
/// each of its hellos.
#[derive(Debug)]
pub(super) struct Turns {
    all: Semaphore,
    of_strangers: Semaphore,
}

impl Turns {
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            all: Semaphore::new(at_once),
            of_strangers: Semaphore::new(1),
        }
    }

    /// Makes a handshake, with a turn for each step: one is held while the costly answer to a
    /// hello is computed or a chain is verified, and until all that waits to run has run once. It
    /// is never held while the scraper takes its time: a few silent ones would otherwise keep
    /// everybody else out.
    pub(super) async fn make<F: Future>(&self, handshake: F, standing: Standing) -> F::Output {
        let mut handshake = pin!(handshake);
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        loop {
            let among_strangers = match standing {
                Standing::Stranger => Some(self.of_strangers.acquire().await),
                Standing::Proven => None,
            };
            let turn = self.all.acquire().await;
            let step = handshake.as_mut().poll(&mut Context::from_waker(&waker));
            // Of a flood most end here, at little cost.
            if let Poll::Ready(ended) = step {
                return ended;
            }
            yield_now().await;
            drop((turn, among_strangers));
            bell.0.notified().await;
        }
    }
}

/// Wakes whoever waits for it.
#[derive(Debug, Default)]
struct Bell(Notify);

impl Wake for Bell {
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
    async fn every_step_of_a_handshake_takes_a_turn_and_none_is_held_while_it_waits() {
        const STEPS: usize = 3;
        for standing in [Standing::Stranger, Standing::Proven] {
            let turns = Turns::new(1);
            let (scraper, mut hello) = mpsc::channel(1);
            let handshake = async {
                for _ in 0..STEPS {
                    assert_eq!(turns.all.available_permits(), 0);
                    hello.recv().await.unwrap();
                }
                assert_eq!(turns.all.available_permits(), 0);
            };
            let steps = async {
                for _ in 0..STEPS {
                    drop(turns.of_strangers.acquire().await);
                    drop(turns.all.acquire().await);
                    scraper.send(()).await.unwrap();
                }
            };
            tokio::join!(turns.make(handshake, standing), steps);
            assert_eq!(turns.all.available_permits(), 1);
            assert_eq!(turns.of_strangers.available_permits(), 1);
        }
    }

    #[tokio::test]
    async fn strangers_compute_one_after_the_other_and_keep_nobody_waiting_who_was_there_before() {
        let turns = Turns::new(4);
        let computed = RefCell::new(Vec::new());
        let handshake = |who: &'static str| {
            let computed = &computed;
            async move {
                computed.borrow_mut().push(who);
                pending::<()>().await;
            }
        };
        let mut first = pin!(turns.make(handshake("first stranger"), Standing::Stranger));
        let mut second = pin!(turns.make(handshake("second stranger"), Standing::Stranger));
        let mut proven = pin!(turns.make(handshake("proven"), Standing::Proven));
        go_on(first.as_mut()).await;
        go_on(second.as_mut()).await;
        assert_eq!(*computed.borrow(), ["first stranger"]);
        go_on(proven.as_mut()).await;
        assert_eq!(*computed.borrow(), ["first stranger", "proven"]);
        // Whatever else was waiting has run, and the first stranger is to answer.
        go_on(first.as_mut()).await;
        go_on(second.as_mut()).await;
        let all = ["first stranger", "proven", "second stranger"];
        assert_eq!(*computed.borrow(), all);
    }

    /// Lets a handshake run once, as far as it comes.
    async fn go_on(mut handshake: Pin<&mut impl Future<Output = ()>>) {
        poll_fn(|context| {
            assert!(handshake.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }
}
