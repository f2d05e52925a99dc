//! The life of a connection and of each scrape on it: the table of contents of aegis.
//!
//! # Why one task per connection, and no pool
//!
//! One task serves a connection from its handshake to its end, one request after the other. It opens a
//! new connection to the service for each scrape, polls it itself, and drops it with the scrape. A
//! pool of connections to services would save one connect(2) on a Unix socket for each scrape. But a
//! leftover byte of one answer could then reach another scrape, and a connection could outlive the
//! grant that it was opened for. Without a pool, each answer belongs to one scrape by
//! construction.
//!
//! Dropping the future of a request stops everything it started: reads, writes, its slot, its socket.
//! So a revoked certificate, an eviction or a disconnect needs no signal to other tasks. The price is
//! that a connection serves one request at a time, which is all that a scraper asks for: Prometheus
//! opens another connection while all others are busy, and vmagent one for each target.

mod admit;
mod handshake;
mod route;
mod authorize;
mod upstream;
mod respond;
mod exchange;
mod revoked;
mod explain;
mod probe;
#[cfg(any(test, fuzzing))]
mod test_support;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::gate::Gate;
use crate::http::{Persistence, ReadHead, Reply, Request};
use crate::refusal::Refused;
use crate::state::State;
use crate::telemetry::recorder::InFlight;
pub use admit::{Admitted, admit};
use exchange::Exchange;
pub use explain::{Explained, Shows, explain};
pub use handshake::{HandshakeStream, Session};
pub use probe::{Probed, probe};
use revoked::{follow_gate, still_valid, wait_until_revoked};
pub(crate) use route::{Target, parse_target};
#[cfg(any(test, fuzzing))]
pub use test_support::{ConnectionEnd, InMemoryConnection};

/// Serves one admitted connection: a handshake, then one request after the other, each judged by the
/// current gate.
pub async fn connection(admitted: Admitted, state: Arc<State>) {
    let peer = admitted.peer();
    let mut gates = state.gates();
    let gate = state.gate();
    let handshakes = state.handshakes();
    // Boxed, here and below: most connections are idle, and an idle one must not hold this memory.
    let accepting = Box::pin(handshake::accept(admitted, &gate, &handshakes));
    // Draining waits for the handshake, and for the first request.
    let mut session = match accepting.await {
        Ok(session) => session,
        Err(refused) => return state.recorder.connection_refused(&peer, &refused),
    };
    let presented = Arc::clone(&session.presented);
    let handshake = session.accepted.elapsed();
    let _connected = state.recorder.connected(presented.client(), handshake);

    if let Disposition::Reuse = requests(&mut session, &mut gates, gate, &state).await {
        session.close().await;
    }
}

/// What happens to a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    /// The answer is complete; another request may follow.
    Reuse,
    /// It is dropped without a TLS close, so that the scraper sees that the answer is truncated.
    Abort,
}

/// Serves one request after the other, each judged by the current gate, over any stream.
async fn requests<S: AsyncRead + AsyncWrite + Unpin>(
    session: &mut Session<S>,
    gates: &mut watch::Receiver<Arc<Gate>>,
    mut gate: Arc<Gate>,
    state: &State,
) -> Disposition {
    let presented = Arc::clone(&session.presented);
    let signals = Arc::clone(session.guard.signals());
    // While draining, a new connection may still send its first request, for as long as a handshake
    // may take: aegis has accepted it, so the next aegis cannot.
    let mut grace = gate.limits.handshake_timeout;
    let mut idle_since = Instant::now();
    loop {
        if !follow_gate(session, gates, &mut gate, state) {
            return Disposition::Reuse;
        }
        let idle_until = idle_since + gate.limits.idle_timeout;
        let next = tokio::select! {
            biased;
            // First: a request that arrives together with a new gate is judged by the new one.
            _ = gates.changed() => continue,
            next = next_request(session, idle_until, &gate, state, grace) => next,
            () = signals.evicted() => {
                state.recorder.evicted(presented.client(), None);
                return Disposition::Reuse;
            }
        };
        grace = Duration::ZERO;
        let mut request = match next {
            Ok(Some(request)) => request,
            Ok(None) => return Disposition::Reuse,
            Err((refused, reply)) => {
                let mut exchange = Exchange::new(session, &gate, state);
                exchange.respond_bad_request(&refused, reply).await;
                return Disposition::Reuse;
            }
        };
        // Again: a gate that was put in force after the look above decides every request after it.
        let allowed = follow_gate(session, gates, &mut gate, state);
        if !allowed || !still_valid(session, &gate, state) {
            return Disposition::Reuse;
        }
        // An idle connection is not closed for its age: a scraper may be about to use it, and would
        // lose a scrape.
        let is_old = session.accepted.elapsed() >= gate.limits.connection_age;
        if is_old || state.is_draining() {
            request.reply.persistence = Persistence::Close;
        }
        let disposition = Box::pin(serve_request(session, &request, gates, state)).await;
        idle_since = Instant::now();
        if disposition == Disposition::Abort || request.reply.persistence == Persistence::Close {
            return disposition;
        }
        // A scraper that pipelines requests must not delay other connections.
        if session.reader.has_begun() {
            yield_now().await;
        }
    }
}

/// Serves one request by the current gate, until it is done, revoked by a later gate, or evicted.
async fn serve_request<S: AsyncRead + AsyncWrite + Unpin>(
    session: &mut Session<S>,
    request: &Request<Target>,
    gates: &watch::Receiver<Arc<Gate>>,
    state: &State,
) -> Disposition {
    let presented = Arc::clone(&session.presented);
    let signals = Arc::clone(session.guard.signals());
    let started = Instant::now();
    let gate = Arc::clone(&gates.borrow());
    let in_flight = || {
        let service = request.target.service()?;
        Some(InFlight {
            services: &gate.services,
            service,
            duration: started.elapsed(),
        })
    };
    signals.set_serving(true);
    let mut exchange = Exchange::new(session, &gate, state);
    let disposition = tokio::select! {
        biased;
        disposition = exchange.serve(request) => disposition,
        refused = wait_until_revoked(&presented, &request.target, gates.clone()) => {
            session.guard.forget_revoked(presented.identity.scraper());
            state.recorder.revoked(presented.client(), in_flight(), &refused);
            Disposition::Abort
        }
        () = signals.evicted() => {
            state.recorder.evicted(presented.client(), in_flight());
            Disposition::Abort
        }
    };
    signals.set_serving(false);
    disposition
}

/// Reads the next request; `None` if the scraper disconnects, is idle for too long, or aegis drains.
async fn next_request(
    session: &mut Session<impl AsyncRead + AsyncWrite + Unpin>,
    idle_until: Instant,
    gate: &Gate,
    state: &State,
    grace: Duration,
) -> Result<Option<Request<Target>>, (Refused, Reply)> {
    let limits = &gate.limits;
    let drained = async {
        state.draining().await;
        sleep(grace).await;
    };
    let Session { stream, reader, .. } = session;
    let next = tokio::select! {
        biased;
        // First: a request that has already arrived is answered.
        next = reader.next(stream, idle_until, limits) => next,
        () = drained => Ok(ReadHead::Eof),
    };
    match next {
        Ok(ReadHead::Head(head)) => match route::route(&head, limits) {
            Ok(request) => Ok(Some(request)),
            Err(refused) => Err((refused, Reply::to_unparsed(&head))),
        },
        Ok(ReadHead::Eof) => Ok(None),
        Err(refused) => Err((refused, reader.reply_to_unparsed())),
    }
}
