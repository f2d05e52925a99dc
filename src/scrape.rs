//! The life of a connection and of each scrape on it: the table of contents of aegis.

mod admit;
mod handshake;
mod route;
mod authorize;
mod upstream;
mod respond;
mod record;
mod operator;
mod explain;
mod probe;
#[cfg(any(test, fuzzing))]
mod rehearsal;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::config::Limits;
use crate::escaped::Escaped;
use crate::gate::{Endpoint, Gate};
use crate::policy::Permit;
use crate::refusal::{Refusal, Refused, SeenAs, Stage};
use crate::service::ServiceName;
use crate::view::View;
use crate::views::{self, Viewer};
pub use admit::{Admitted, Places, admit};
pub use explain::{Explained, Shows, explain};
use handshake::Presented;
pub use handshake::{Handshake, Session, Wire};
pub(crate) use operator::operator;
pub use probe::{Probed, probe};
use record::Scraped;
#[cfg(any(test, fuzzing))]
pub use rehearsal::{Ended, Rehearsal};
use respond::{Failed, Reveal, Scraper, ServiceRequest};
use route::{Afterwards, AnswerWith, Asked, Heads, NextHead, Wanted};
pub(crate) use upstream::work_in_descriptors;
pub use upstream::{NotForgotten, Offered, Upstream};

/// Serves one admitted connection: a handshake, then one request after the other, each judged
/// by the gate of its moment.
pub async fn connection(admitted: Admitted, endpoint: Arc<Endpoint>) {
    let peer = admitted.peer();
    let mut gates = endpoint.gates();
    let gate = endpoint.gate();
    // Boxed, here and below: an idle connection, and most are, holds no room for either.
    let accepting = Box::pin(gate.handshake.accept(admitted, &gate.policy));
    // Draining waits for it, and for the first request.
    let mut session = match accepting.await {
        Ok(session) => session,
        Err(refused) => return endpoint.turn_away(&peer, &refused),
    };
    let presented = Arc::clone(&session.presented);
    let _connected = endpoint.note_connected(&presented, session.accepted.elapsed());

    if let Connection::Whole = requests(&mut session, &mut gates, gate, &endpoint).await {
        session.close().await;
    }
}

/// Serves one request after the other, each judged by the gate of its moment. It knows nothing
/// of TLS: how requests and answers travel has been settled.
async fn requests<S: AsyncRead + AsyncWrite + Unpin>(
    session: &mut Session<S>,
    gates: &mut watch::Receiver<Arc<Gate>>,
    mut gate: Arc<Gate>,
    endpoint: &Endpoint,
) -> Connection {
    let presented = Arc::clone(&session.presented);
    let mut heads = Heads::default();
    // Whoever has just come may ask once, though aegis is to stop, and may take as long for that as
    // for the handshake: it has left the queue in which the next aegis would find it.
    let mut grace = gate.limits.handshake_timeout;
    loop {
        let now = Arc::clone(&gates.borrow_and_update());
        if !Arc::ptr_eq(&now, &gate) {
            gate = now;
            if has_to_go(&presented, &gate, endpoint) {
                return Connection::Whole;
            }
        }
        let oldest = session.accepted + gate.limits.connection_age;
        let next = tokio::select! {
            biased;
            // First: a request that comes together with another gate is judged by that one.
            _ = gates.changed() => continue,
            next = next_request(session, &mut heads, oldest, &gate, endpoint, grace) => next,
        };
        grace = Duration::ZERO;
        let asked = match next {
            Ok(Some(asked)) => asked,
            Ok(None) => return Connection::Whole,
            Err(no) => {
                turn_down(session, no, &gate, endpoint).await;
                return Connection::Whole;
            }
        };
        // What vouched for the scraper may have run out, though nothing was reloaded.
        if (presented.has_expired() || gate.crl_has_run_out())
            && has_to_go(&presented, &gate, endpoint)
        {
            return Connection::Whole;
        }
        let afterwards = if Instant::now() >= oldest || endpoint.is_draining() {
            Afterwards::Close
        } else {
            asked.afterwards
        };
        let (begun, wanted) = (Instant::now(), asked.wanted.clone());
        let serving = (asked, afterwards);
        let serving = Box::pin(request(session, &mut heads, serving, &gate, endpoint));
        let outcome = tokio::select! {
            biased;
            outcome = serving => outcome,
            refused = until_outlawed(&presented, &wanted, gates.clone()) => {
                let in_flight = wanted.service().map(|service| (service, begun.elapsed()));
                endpoint.turn_out(&presented, in_flight, &refused);
                Connection::Cut
            }
        };
        match (outcome, afterwards) {
            // Whoever has asked for more already must not keep the others from their turn.
            (Connection::Whole, Afterwards::KeepAlive) if heads.has_begun() => yield_now().await,
            (Connection::Whole, Afterwards::KeepAlive) => {}
            (outcome, _) => return outcome,
        }
    }
}

/// Whether the gate admits a scraper no longer, which is then noted.
fn has_to_go(presented: &Presented, gate: &Gate, endpoint: &Endpoint) -> bool {
    let judged = gate.handshake.judge(presented, &gate.policy);
    if let Err(refused) = &judged {
        endpoint.turn_out(presented, None, refused);
    }
    judged.is_err()
}

/// Reads the next request; `None` if the scraper leaves, is idle for too long, or has to go.
async fn next_request(
    session: &mut Session<impl AsyncRead + AsyncWrite + Unpin>,
    heads: &mut Heads,
    oldest: Instant,
    gate: &Gate,
    endpoint: &Endpoint,
    grace: Duration,
) -> Result<Option<Asked>, (Refused, AnswerWith)> {
    let limits = &gate.limits;
    let has_to_leave = async {
        endpoint.draining().await;
        sleep(grace).await;
    };
    let idle_until = oldest.min(Instant::now() + limits.idle_timeout);
    let next = tokio::select! {
        biased;
        // First: what has been asked by now is answered.
        next = heads.next(&mut session.stream, idle_until, limits) => next,
        () = has_to_leave => Ok(NextHead::Over),
    };
    match next {
        Ok(NextHead::Head(head)) => match route::route(&head, limits) {
            Ok(asked) => Ok(Some(asked)),
            Err(refused) => Err((refused, AnswerWith::to_unread(&head))),
        },
        Ok(NextHead::Over) => Ok(None),
        Err(refused) => Err((refused, heads.answer_to_unread())),
    }
}

/// Waits until a gate admits this scrape no longer, and then for as long as one in flight may
/// still take.
async fn until_outlawed(
    presented: &Presented,
    wanted: &Wanted,
    mut gates: watch::Receiver<Arc<Gate>>,
) -> Refused {
    loop {
        if gates.changed().await.is_err() {
            // The gates end with the endpoint, which the caller holds.
            std::future::pending::<()>().await;
        }
        let gate = Arc::clone(&gates.borrow_and_update());
        let judged = gate
            .handshake
            .judge(presented, &gate.policy)
            .and_then(|()| match wanted {
                Wanted::View(_) => Ok(()),
                Wanted::Service(service) => {
                    let permit = authorize::authorize(presented, service.clone(), &gate.policy);
                    permit.map(drop).map_err(Refused::from)
                }
            });
        if let Err(refused) = judged {
            sleep(GRACE).await;
            return refused;
        }
    }
}

/// What a scrape in flight has left once nothing admits it any more.
const GRACE: Duration = Duration::from_secs(4);

/// What a request leaves of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// An answer ended in good order; another request may follow.
    Whole,
    /// It must be dropped as it is, so that the scraper sees that the answer broke off.
    Cut,
}

/// Serves one request.
async fn request(
    session: &mut Session<impl AsyncRead + AsyncWrite + Unpin>,
    heads: &mut Heads,
    (asked, afterwards): (Asked, Afterwards),
    gate: &Gate,
    endpoint: &Endpoint,
) -> Connection {
    match asked.wanted.clone() {
        Wanted::Service(service) => {
            let with = (&asked, afterwards);
            request_for_service(session, heads, with, &service, gate, endpoint).await
        }
        Wanted::View(view) => {
            request_for_view(session, (&asked, afterwards), view, gate, endpoint).await
        }
    }
}

/// Shows what aegis says of itself, as far as it concerns this scraper.
async fn request_for_view(
    session: &mut Session<impl AsyncRead + AsyncWrite + Unpin>,
    (asked, afterwards): (&Asked, Afterwards),
    view: View,
    gate: &Gate,
    endpoint: &Endpoint,
) -> Connection {
    let presented = Arc::clone(&session.presented);
    let with = (asked.answer, afterwards);
    let viewer = Viewer::Scraper {
        peer: &presented.peer,
        identity: &presented.identity,
        reached: session.reached,
    };
    let shown = views::show(view, &viewer, asked.accept.as_deref(), gate, endpoint);
    endpoint.note_shown(&presented, view, &shown);
    match respond::own(&mut session.stream, shown, with, &gate.limits).await {
        Ok(_) => Connection::Whole,
        Err(_) => Connection::Cut,
    }
}

/// Serves one request for a service: authorize, connect, pass the answer on.
async fn request_for_service(
    session: &mut Session<impl AsyncRead + AsyncWrite + Unpin>,
    heads: &mut Heads,
    (asked, afterwards): (&Asked, Afterwards),
    service: &ServiceName,
    gate: &Gate,
    endpoint: &Endpoint,
) -> Connection {
    let begun = Instant::now();
    let with = (asked.answer, afterwards);
    let presented = Arc::clone(&session.presented);
    let permit = match authorize::authorize(&presented, service.clone(), &gate.policy) {
        Ok(permit) => permit,
        Err(refusal) => {
            let refused = refusal.into();
            endpoint.note_refused(&presented, Some(service), &refused);
            return refuse(session, refusal, Reveal::Nothing, with, &gate.limits).await;
        }
    };
    let identity = Escaped(permit.matched().as_bytes()).to_string();
    let entry = permit.entry().to_string();
    let ended = scrape(
        session,
        heads,
        (asked, afterwards),
        permit,
        gate,
        endpoint,
        begun,
    )
    .await;
    let scraped = Scraped {
        identity: &identity,
        entry: &entry,
        service,
        duration: begun.elapsed(),
    };
    match ended {
        Ok(bytes) => {
            endpoint.note_scraped(&presented, &scraped, bytes);
            Connection::Whole
        }
        Err(Failed { refused, seen }) => {
            let refusal = refused.refusal;
            // Before that stage, no service was asked.
            if refusal.stage() >= Stage::Upstream {
                endpoint.note_failed(&presented, &scraped, &refused);
            } else {
                endpoint.note_refused(&presented, Some(service), &refused);
            }
            if seen {
                return Connection::Cut;
            }
            let reveal = Reveal::of(refusal);
            refuse(session, refusal, reveal, with, &gate.limits).await
        }
    }
}

/// Scrapes what was granted, and says how many bytes its body had.
async fn scrape(
    session: &mut Session<impl AsyncRead + AsyncWrite + Unpin>,
    heads: &mut Heads,
    (asked, afterwards): (&Asked, Afterwards),
    permit: Permit,
    gate: &Gate,
    endpoint: &Endpoint,
    begun: Instant,
) -> Result<u64, Failed> {
    let Gate {
        upstream, limits, ..
    } = gate;
    let settings = upstream.settings(permit.service());
    let unseen = |refused| Failed {
        refused,
        seen: false,
    };
    let target = || {
        let target = route::target_for(settings, asked.query.as_deref());
        target.map_err(unseen)
    };
    let with = (asked.answer, afterwards);
    if permit.service().is_reserved() {
        target()?;
        let shown = endpoint.own_metrics(asked.accept.as_deref());
        return respond::own(&mut session.stream, shown, with, limits).await;
    }
    let found = upstream.find(permit).map_err(unseen)?;
    // Only now: for a service that is not there, the answer must be that, whatever the query.
    let target = target()?;
    let deadline = begun + route::time_for(asked.timeout, settings, limits);
    let connected = found.connect(deadline).await.map_err(unseen)?;
    let request = ServiceRequest {
        target,
        asked,
        remaining: deadline.saturating_duration_since(Instant::now()),
    };
    let mut scraper = Scraper {
        stream: &mut session.stream,
        heads,
        deadline,
        limits,
    };
    scraper.respond(connected, &request, settings, with).await
}

async fn refuse(
    session: &mut Session<impl AsyncRead + AsyncWrite + Unpin>,
    refusal: Refusal,
    reveal: Reveal,
    with: (AnswerWith, Afterwards),
    limits: &Limits,
) -> Connection {
    match respond::refuse(&mut session.stream, refusal, reveal, with, limits).await {
        Ok(()) => Connection::Whole,
        Err(_) => Connection::Cut,
    }
}

/// Answers a request that is not one, before the connection is closed.
async fn turn_down(
    session: &mut Session<impl AsyncRead + AsyncWrite + Unpin>,
    (refused, answer): (Refused, AnswerWith),
    gate: &Gate,
    endpoint: &Endpoint,
) {
    endpoint.note_refused(&session.presented, None, &refused);
    if refused.refusal.seen_as() != SeenAs::Closed {
        let with = (answer, Afterwards::Close);
        refuse(
            session,
            refused.refusal,
            Reveal::Nothing,
            with,
            &gate.limits,
        )
        .await;
    }
}
