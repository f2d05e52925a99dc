//! `state/handshakes.rs`: the permits of handshakes.
//!
//! - At most `handshakes` compute at once, and at most one of unknown addresses: no permit is given
//!   twice.
//! - Each handshake ends: no permit is lost, and no wake-up, even if it comes while the handshake
//!   computes or waits for its permit.
//! - A handshake that waits for its scraper holds no permit.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use shuttle::future::{block_on, spawn};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;

use super::poll_now;
use crate::state::{HandshakeLimiter, PeerHistory};
use crate::wire::{Wire, wire};

const AT_ONCE: usize = 2;

/// How many handshakes compute.
pub(super) struct Computing {
    max: usize,
    all: AtomicUsize,
    unknown: AtomicUsize,
}

impl Computing {
    /// More at once than this fail an assertion.
    pub(super) fn at_most(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            all: AtomicUsize::new(0),
            unknown: AtomicUsize::new(0),
        })
    }

    /// Computes: other threads run meanwhile.
    fn compute(&self, history: PeerHistory) {
        let is_unknown = usize::from(history == PeerHistory::Unknown);
        assert!(self.all.fetch_add(1, Ordering::SeqCst) < self.max);
        assert!(self.unknown.fetch_add(is_unknown, Ordering::SeqCst) + is_unknown <= 1);
        shuttle::thread::yield_now();
        self.unknown.fetch_sub(is_unknown, Ordering::SeqCst);
        self.all.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A handshake of two messages of the scraper, which computes in each step.
pub(super) async fn handshake(
    limiter: &HandshakeLimiter,
    computing: &Computing,
    mut stream: Wire,
    history: PeerHistory,
) {
    let mut messages = pin!(async {
        stream.read_u8().await.unwrap();
        stream.read_u8().await.unwrap();
    });
    let steps = poll_fn(|context| {
        computing.compute(history);
        messages.as_mut().poll(context)
    });
    limiter.run(steps, history).await;
}

/// How many handshakes compute if more than enough begin.
pub(super) fn compute_at_once(limiter: &HandshakeLimiter, history: PeerHistory) -> usize {
    let computing = AtomicUsize::new(0);
    let begin = || {
        let steps = poll_fn(|_| {
            computing.fetch_add(1, Ordering::SeqCst);
            Poll::<()>::Pending
        });
        let mut begun = Box::pin(limiter.run(steps, history));
        assert!(poll_now(begun.as_mut()).is_none());
        begun
    };
    let begun: Vec<_> = (0..ENOUGH).map(|_| begin()).collect();
    drop(begun);
    computing.load(Ordering::SeqCst)
}

/// More than the permits of any model.
const ENOUGH: usize = 4;

struct World {
    limiter: HandshakeLimiter,
    computing: Arc<Computing>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            limiter: HandshakeLimiter::new(AT_ONCE),
            computing: Computing::at_most(AT_ONCE),
        })
    }

    async fn handshake(&self, stream: Wire, history: PeerHistory) {
        handshake(&self.limiter, &self.computing, stream, history).await;
    }

    fn assert_all_are_free(&self) {
        let authenticated = compute_at_once(&self.limiter, PeerHistory::Authenticated);
        assert_eq!(authenticated, AT_ONCE);
        assert_eq!(compute_at_once(&self.limiter, PeerHistory::Unknown), 1);
    }
}

/// Four handshakes; one scraper disconnects at any moment.
pub(crate) fn limit() {
    use PeerHistory::{Authenticated, Unknown};
    let world = World::new();
    let mut tasks = Vec::new();
    for history in [Unknown, Authenticated, Authenticated] {
        let (ours, scraper) = wire();
        let of_task = Arc::clone(&world);
        tasks.push(spawn(async move { of_task.handshake(ours, history).await }));
        tasks.push(spawn(async move {
            scraper.send(1);
            scraper.send(2);
        }));
    }
    let deadline = Arc::<Notify>::default();
    let (ours, silent) = wire();
    let (of_task, expired) = (Arc::clone(&world), Arc::clone(&deadline));
    tasks.push(spawn(async move {
        tokio::select! {
            biased;
            () = expired.notified() => {}
            () = of_task.handshake(ours, Unknown) => {}
        }
    }));
    silent.send(1);
    deadline.notify_one();
    for task in tasks {
        block_on(task).unwrap();
    }
    world.assert_all_are_free();
}

/// As many silent handshakes as there are permits; a further one must end before they go on.
pub(crate) fn silent() {
    let world = World::new();
    let mut silent = Vec::new();
    let mut tasks = Vec::new();
    let mut start = |history| {
        let (ours, scraper) = wire();
        let world = Arc::clone(&world);
        tasks.push(spawn(async move { world.handshake(ours, history).await }));
        scraper
    };
    for history in [PeerHistory::Unknown, PeerHistory::Authenticated] {
        silent.push(start(history));
    }
    let prompt = start(PeerHistory::Unknown);
    prompt.send(1);
    prompt.send(2);
    block_on(tasks.pop().unwrap()).unwrap();
    for scraper in &silent {
        scraper.send(1);
        scraper.send(2);
    }
    for task in tasks {
        block_on(task).unwrap();
    }
    world.assert_all_are_free();
}
