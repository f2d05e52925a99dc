//! `state.rs` (`replace`, `keep`), `scrape.rs` and `scrape/revoked.rs`: a gate that takes rights away.
//!
//! - A request that begins after the swap has returned is decided by the new gate, in every part:
//!   its certificate and its grant.
//! - An idle connection is judged again and closed, without a request.
//! - A running scrape is judged again: it is cut off after the grace period, and its slot is freed,
//!   unless a later gate allows it again before.
//! - The address of a scraper that lost its connection is unknown again: it does not precede others.
//!
//! Each swap comes at any moment of a connection's life. The clock stands still until the model
//! advances it.

use shuttle::future::block_on;
use shuttle::rand::{Rng as _, thread_rng};
use tokio::time::advance;

use super::{Clock, aegis, is_slot_free, peer, serve};
use crate::config::Limits;
use crate::gate::{Gate, Trust};
use crate::policy::Policy;
use crate::scrape::Admitted;
use crate::state::{ConnectionLimiter, PeerHistory, State};
use crate::wire::{Answer, QUICK, SLOW};

const SCRAPER: u8 = 7;

/// A gate whose CRLs have the scraper's certificate.
fn revoking(number: u8) -> Gate {
    Gate {
        trust: Trust::Revoked,
        ..Gate::open(number)
    }
}

/// A gate without the scraper's grant.
fn denying(number: u8) -> Gate {
    Gate {
        policy: Policy::Denies,
        ..Gate::open(number)
    }
}

/// Puts a gate in force, as a reload of valid files does, or one with a fault elsewhere.
fn swap(state: &State, gate: Gate) {
    if thread_rng().r#gen() {
        state.replace(gate);
    } else {
        state.keep(vec!["a fault".to_owned()], Some(gate));
    }
}

/// Whether the next handshake from the scraper's address is one of an unknown address.
fn is_unknown(state: &State) -> bool {
    let next = ConnectionLimiter::take(&state.connections, &peer(1), &Limits::WIDE);
    next.unwrap().history() == PeerHistory::Unknown
}

/// The scraper sends nothing after its handshake.
pub(crate) fn idle() {
    let (state, _requests) = aegis();
    let (connection, mut scraper) = serve(&state, 1);
    scraper.send(SCRAPER);
    swap(&state, revoking(2));
    block_on(async {
        // A handshake that ends after the swap is refused without a close.
        let end = scraper.answer().await;
        assert!(matches!(end, Answer::Closed | Answer::Aborted), "{end:?}");
        connection.await.unwrap();
    });
    assert_eq!(state.connections.usage().open, 0);
    assert!(is_unknown(&state));
}

/// Requests before the swap and one after it. The connection is anywhere between the answer to one
/// and the wait for the next, or still in its handshake.
pub(crate) fn later() {
    let (state, _requests) = aegis();
    let (connection, mut scraper) = serve(&state, 1);
    scraper.send(SCRAPER);
    block_on(async {
        for _ in 0..thread_rng().gen_range(0..=2) {
            scraper.send(QUICK);
            assert_eq!(scraper.answer().await, Answer::served_by(1));
        }
        swap(&state, any_tightening());
        scraper.send(QUICK);
        let answer = scraper.answer().await;
        assert!(!matches!(answer, Answer::Served { .. }), "{answer:?}");
        drop(scraper);
        connection.await.unwrap();
    });
    assert!(is_slot_free(&state));
}

fn any_tightening() -> Gate {
    if thread_rng().r#gen() {
        revoking(2)
    } else {
        denying(2)
    }
}

/// A scrape that would last forever begins before the swap, or during it.
pub(crate) fn running() {
    let (state, _requests) = aegis();
    let (connection, mut scraper) = serve(&state, 1);
    scraper.send(SCRAPER);
    block_on(async {
        scraper.send(QUICK);
        assert_eq!(scraper.answer().await, Answer::served_by(1));
        scraper.send(SLOW);
        swap(&state, any_tightening());
        let _clock = Clock::start();
        let answer = scraper.answer().await;
        assert!(!matches!(answer, Answer::Served { .. }), "{answer:?}");
        drop(scraper);
        connection.await.unwrap();
        // Denied: the new gate has no grant for it, but admits the scraper.
        assert!(answer == Answer::Denied || is_unknown(&state), "{answer:?}");
    });
    assert!(is_slot_free(&state));
    assert_eq!(state.connections.usage().open, 0);
}

/// A gate revokes, the next one allows again, and only then time passes.
pub(crate) fn restored() {
    let (state, _requests) = aegis();
    let (connection, mut scraper) = serve(&state, 1);
    scraper.send(SCRAPER);
    scraper.send(QUICK);
    block_on(async {
        assert_eq!(scraper.answer().await, Answer::served_by(1));
        scraper.send(SLOW);
        swap(&state, revoking(2));
        swap(&state, Gate::open(3));
        advance(Admitted::GRACE_PERIOD);
        scraper.send(1);
        let answer = scraper.answer().await;
        // Closed: the connection was idle while the second gate was in force.
        let continues = matches!(answer, Answer::Served { .. } | Answer::Closed);
        assert!(continues, "{answer:?}");
        drop(scraper);
        connection.await.unwrap();
    });
    assert!(is_slot_free(&state));
}
