//! `state.rs` (`drain`, `draining`, `reload`), `scrape.rs` and `server/workers.rs` (`drain`): the end.
//!
//! - Draining ends: idle connections are closed, running scrapes are answered in full, and new
//!   connections get a moment for their first request.
//! - A scrape that does not end is aborted at the deadline; its place and its slot are freed.
//! - Everything that waits for draining wakes, whenever draining begins.

use std::sync::Arc;
use std::time::Duration;

use shuttle::future::{block_on, spawn};
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;

use super::{Clock, aegis, connect, is_slot_free};
use crate::config::NEVER;
use crate::server::listen::Listeners;
use crate::server::sandbox::Sealed;
use crate::server::workers::{self, Drained};
use crate::wire::{Answer, QUICK, SLOW};

const SCRAPER: u8 = 7;

/// An idle connection, one with a running scrape, one whose scraper sends nothing at all.
pub(crate) fn complete() {
    let (state, _requests) = aegis();
    let mut connections = JoinSet::new();
    let mut scrapers = Vec::new();
    for address in 1..=3 {
        let (connection, scraper) = connect(&state, address);
        connections.spawn(connection);
        scrapers.push(scraper);
    }
    let _silent = scrapers.pop();
    let (mut running, mut idle) = (scrapers.pop().unwrap(), scrapers.pop().unwrap());
    let idle = spawn(async move {
        idle.send(SCRAPER);
        idle.send(QUICK);
        // Draining waits for the handshake and the first request.
        let answer = idle.answer().await;
        assert!(matches!(answer, Answer::Served { .. }), "{answer:?}");
        assert_eq!(idle.answer().await, Answer::Closed);
    });
    let running = spawn(async move {
        running.send(SCRAPER);
        running.send(SLOW);
        running.send(1);
        let answer = running.answer().await;
        assert!(matches!(answer, Answer::Served { .. }), "{answer:?}");
        assert_eq!(running.answer().await, Answer::Closed);
    });
    state.drain();
    block_on(async {
        // Only the silent scraper needs time: its handshake times out.
        let _clock = Clock::start_after([idle, running]);
        let deadline = Instant::now() + NEVER;
        let drained = workers::drain(&mut connections, &state, deadline).await;
        assert_eq!(drained, Drained::Complete);
    });
    assert_eq!(state.connections.usage().open, 0);
}

/// A scrape that would last forever.
pub(crate) fn timed_out() {
    let (state, _requests) = aegis();
    let (connection, mut scraper) = connect(&state, 1);
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    scraper.send(SCRAPER);
    scraper.send(SLOW);
    block_on(async {
        // A request that arrives while an idle connection is closed may be lost: wait.
        while is_slot_free(&state) {
            yield_now().await;
        }
        state.drain();
        let _clock = Clock::start();
        let deadline = Instant::now() + Duration::from_secs(30);
        let drained = workers::drain(&mut connections, &state, deadline).await;
        assert_eq!(drained, Drained::TimedOut);
        drop(connections);
        assert_eq!(scraper.answer().await, Answer::Aborted);
        // The end of the stream comes first; a lost place would keep this going.
        while state.connections.usage().open > 0 {
            yield_now().await;
        }
    });
    assert!(is_slot_free(&state));
}

/// An event loop and an operator who waits for a reload.
pub(crate) fn wakes() {
    let (state, _requests) = aegis();
    let of_loop = Arc::clone(&state);
    let event_loop = spawn(async move {
        let listeners = Listeners;
        assert!(listeners.serve(Sealed, &of_loop).await.is_empty());
    });
    let of_operator = Arc::clone(&state);
    let operator = spawn(async move {
        of_operator.reload().await;
    });
    state.drain();
    block_on(event_loop).unwrap();
    block_on(operator).unwrap();
}
