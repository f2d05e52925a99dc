//! The models, and what several of them need.

pub(crate) mod changed_limits;
pub(crate) mod drain;
pub(crate) mod eviction;
pub(crate) mod handshakes;
pub(crate) mod places;
pub(crate) mod slots;
pub(crate) mod tightening;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shuttle::future::{JoinHandle, spawn};
use tokio::task::yield_now;
use tokio::time::advance;

use crate::config::Limits;
use crate::gate::Gate;
use crate::policy::identity::ScraperId;
use crate::policy::peer::Peer;
use crate::scrape::{self, admit};
use crate::state::{ConcurrencyLimiter, ReloadReceiver, State, reload_queue};
use crate::wire::{Wire, wire};

/// One model.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// Runs once in each schedule.
    pub(crate) run: fn(),
}

const fn model(name: &'static str, run: fn()) -> Model {
    Model { name, run }
}

pub(crate) const MODELS: &[Model] = &[
    model("slots_are_exclusive_and_come_back", slots::exclusive),
    model("slots_of_scrapes_that_give_up_come_back", slots::giving_up),
    model("places_are_exclusive_and_come_back", places::exclusive),
    model("an_evicted_connection_notices", places::eviction),
    model("handshakes_compute_within_the_limit", handshakes::limit),
    model("a_silent_handshake_blocks_no_other", handshakes::silent),
    model(
        "a_reload_of_the_same_limit_keeps_its_permits",
        changed_limits::kept,
    ),
    model(
        "a_reload_changes_the_limit_of_handshakes",
        changed_limits::handshakes,
    ),
    model(
        "a_reload_changes_the_limit_of_scrapes",
        changed_limits::max_concurrent,
    ),
    model("an_idle_connection_gives_way", eviction::idle),
    model("a_running_scrape_gives_way", eviction::running),
    model("an_idle_connection_is_revoked", tightening::idle),
    model(
        "a_later_request_is_decided_by_the_new_gate",
        tightening::later,
    ),
    model("a_running_scrape_is_revoked", tightening::running),
    model("a_scrape_survives_a_short_revocation", tightening::restored),
    model("drain_ends_when_scrapes_end", drain::complete),
    model("drain_ends_at_its_deadline", drain::timed_out),
    model("everything_that_waits_for_drain_wakes", drain::wakes),
];

/// Polls once.
fn poll_now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn peer(address: u8) -> Peer {
    Peer::new(SocketAddr::from(([192, 0, 2, address], 1)))
}

/// An aegis that begins with an open gate. The channel of reload requests stays open.
fn aegis() -> (Arc<State>, ReloadReceiver) {
    aegis_with(Limits::WIDE)
}

fn aegis_with(limits: Limits) -> (Arc<State>, ReloadReceiver) {
    let (reloads, requests) = reload_queue(8).unwrap();
    let gate = Gate {
        limits,
        ..Gate::open(1)
    };
    let state = State::new(gate, Vec::new(), reloads);
    (Arc::new(state), requests)
}

/// A connection from this address: the task that serves it, and the scraper's end.
fn connect(state: &Arc<State>, address: u8) -> (impl Future<Output = ()> + Send + use<>, Wire) {
    let (ours, scraper) = wire();
    let limits = state.gate().limits;
    let Ok(admitted) = admit(ours, peer(address), &limits, state) else {
        panic!("the limits of the models leave a place")
    };
    (scrape::connection(admitted, Arc::clone(state)), scraper)
}

/// A connection that is being served.
fn serve(state: &Arc<State>, address: u8) -> (JoinHandle<()>, Wire) {
    let (connection, scraper) = connect(state, address);
    (spawn(connection), scraper)
}

/// Whether no scrape runs: the service has one slot.
fn is_slot_free(state: &State) -> bool {
    let service = "node".parse().unwrap();
    let slot = ConcurrencyLimiter::acquire(&state.concurrency, &service, ScraperId(1), 1);
    poll_now(slot).is_some()
}

/// Lets time pass, second by second, until it is dropped.
struct Clock(Arc<AtomicBool>);

impl Clock {
    fn start() -> Self {
        Self::start_after([])
    }

    /// Starts when these tasks have ended.
    fn start_after<const COUNT: usize>(tasks: [JoinHandle<()>; COUNT]) -> Self {
        let has_stopped = Arc::<AtomicBool>::default();
        let flag = Arc::clone(&has_stopped);
        spawn(async move {
            for task in tasks {
                task.await.unwrap();
            }
            while !flag.load(Ordering::SeqCst) {
                advance(Duration::from_secs(1));
                yield_now().await;
            }
        });
        Self(has_stopped)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
