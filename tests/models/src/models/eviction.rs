//! `scrape.rs` and `state/connections.rs`: the end of an evicted connection.
//!
//! - An evicted connection ends, although its scraper does nothing: an idle one is closed, and the
//!   scrape of a busy one is cut off, also while it waits for its slot. The slot is freed.
//! - Exactly one connection ends for a newcomer, and the others continue.
//! - An idle connection gives way before a running scrape.
//!
//! Time stands still: no deadline ends a connection here.

use std::sync::Arc;

use shuttle::future::{JoinHandle, block_on, spawn};
use shuttle::rand::{Rng as _, thread_rng};
use tokio::task::yield_now;

use super::{aegis_with, is_slot_free, serve};
use crate::config::Limits;
use crate::state::State;
use crate::wire::{Answer, QUICK, SLOW, Wire};

/// The scraper that has all places for authenticated connections.
const BUSY: u8 = 7;
const NEWCOMER: u8 = 8;

/// One place is reserved for handshakes.
const LIMITS: Limits = Limits {
    connections: 3,
    ..Limits::WIDE
};
const MAX_AUTHENTICATED: usize = 2;

/// A connection of the busy scraper.
struct Connection {
    task: JoinHandle<()>,
    scraper: Wire,
}

impl Connection {
    async fn open(state: &Arc<State>) -> Self {
        let before = state.connections.usage().authenticated;
        let (task, scraper) = serve(state, 1);
        scraper.send(BUSY);
        while state.connections.usage().authenticated == before {
            yield_now().await;
        }
        Self { task, scraper }
    }

    /// It must end as described, and so must its task.
    async fn ends(mut self, how: &[Answer]) {
        let end = self.scraper.answer().await;
        assert!(how.contains(&end), "{end:?}");
        // The scraper keeps its end until aegis has ended.
        self.task.await.unwrap();
        drop(self.scraper);
    }

    async fn is_served(&mut self) {
        let answer = self.scraper.answer().await;
        assert_eq!(answer, Answer::served_by(1));
    }

    /// It ends with its scraper.
    async fn leaves(self) {
        drop(self.scraper);
        self.task.await.unwrap();
    }
}

/// A scraper that needs one of the places.
fn newcomer(state: &Arc<State>) -> JoinHandle<()> {
    let (task, mut scraper) = serve(state, 2);
    scraper.send(NEWCOMER);
    scraper.send(QUICK);
    spawn(async move {
        assert_eq!(scraper.answer().await, Answer::served_by(1));
        drop(scraper);
        task.await.unwrap();
    })
}

async fn wait_for_slot(state: &State, is_free: bool) {
    while is_slot_free(state) != is_free {
        yield_now().await;
    }
}

/// The older connection scrapes, or is idle too. The newer one has just authenticated, or waits for
/// its next request.
pub(crate) fn idle() {
    let (state, _requests) = aegis_with(LIMITS);
    block_on(async {
        let older = Connection::open(&state).await;
        let mut newer = Connection::open(&state).await;
        if thread_rng().r#gen() {
            newer.scraper.send(QUICK);
            newer.is_served().await;
            wait_for_slot(&state, true).await;
        }
        let scrapes = thread_rng().r#gen();
        if scrapes {
            older.scraper.send(SLOW);
            wait_for_slot(&state, false).await;
        }
        let newcomer = newcomer(&state);
        // Among idle connections, the oldest gives way.
        let (gone, mut stays) = if scrapes {
            (newer, older)
        } else {
            (older, newer)
        };
        gone.ends(&[Answer::Closed]).await;
        stays.scraper.send(if scrapes { 1 } else { QUICK });
        stays.is_served().await;
        newcomer.await.unwrap();
        stays.leaves().await;
    });
    assert_eq!(state.connections.usage().open, 0);
    assert!(is_slot_free(&state));
}

/// One connection scrapes and would do so forever, the other one waits for its slot. The newcomer
/// comes at any moment.
pub(crate) fn running() {
    let (state, _requests) = aegis_with(LIMITS);
    block_on(async {
        let mut older = Connection::open(&state).await;
        let mut newer = Connection::open(&state).await;
        older.scraper.send(SLOW);
        newer.scraper.send(SLOW);
        let newcomer = newcomer(&state);
        let (end, gone, mut stays) = tokio::select! {
            biased;
            end = older.scraper.answer() => (end, older, newer),
            end = newer.scraper.answer() => (end, newer, older),
        };
        // Closed: the request had not arrived.
        assert!(matches!(end, Answer::Closed | Answer::Aborted), "{end:?}");
        gone.task.await.unwrap();
        assert!(state.connections.usage().authenticated <= MAX_AUTHENTICATED);
        // It needs the slot of the evicted one, and so does the newcomer.
        stays.scraper.send(1);
        stays.is_served().await;
        newcomer.await.unwrap();
        drop(gone.scraper);
        stays.leaves().await;
    });
    assert_eq!(state.connections.usage().open, 0);
    assert!(is_slot_free(&state));
}
