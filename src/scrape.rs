//! The life of a connection and of each scrape on it: the table of contents of aegis.

mod admit;
mod handshake;
mod route;
mod authorize;
mod upstream;
mod respond;
mod record;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use crate::config::{Limits, Service};
use crate::gate::{Endpoint, Gate};
use crate::policy::Permit;
use crate::refusal::{Refusal, Refused, SeenAs, Stage};
pub use admit::{Admitted, Places, admit};
pub use handshake::{Handshake, Session};
use record::Scraped;
use respond::{Failed, Reveal, ServiceRequest};
use route::{Afterwards, AnswerWith, Asked, Heads, NextHead};
pub use upstream::Upstream;

/// Serves one admitted connection: a handshake, then one request after the other.
pub async fn connection(admitted: Admitted, endpoint: Arc<Endpoint>) {
    let peer = admitted.peer();
    let begun = Instant::now();
    let accepted = endpoint
        .gate
        .handshake
        .accept(admitted, &endpoint.gate.policy);
    let mut session = tokio::select! {
        accepted = accepted => match accepted {
            Ok(session) => session,
            Err(refused) => return endpoint.turn_away(&peer, &refused),
        },
        () = endpoint.draining() => return,
    };
    endpoint.metrics.handshake_done(begun.elapsed());
    debug!(%peer, identity = session.identity.shown(), "connected");

    let limits = &endpoint.gate.limits;
    let oldest = session.accepted + limits.connection_age;
    let mut heads = Heads::default();
    loop {
        let idle_until = oldest.min(Instant::now() + limits.idle_timeout);
        let next = tokio::select! {
            next = heads.next(&mut session.stream, idle_until, limits) => next,
            () = endpoint.draining() => Ok(NextHead::Over),
        };
        let asked = match next {
            Ok(NextHead::Over) => return session.close().await,
            Ok(NextHead::Head(head)) => {
                let with = answer_with(&head);
                route::route(&head, limits).map_err(|refused| (refused, with))
            }
            Err(refused) => Err((refused, AnswerWith::Body)),
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err((refused, with)) => {
                turn_down(&mut session, &refused, with, &endpoint).await;
                return session.close().await;
            }
        };
        let last = asked.afterwards == Afterwards::Close
            || Instant::now() >= oldest
            || endpoint.is_draining();
        let afterwards = if last {
            Afterwards::Close
        } else {
            Afterwards::KeepAlive
        };
        match request(&mut session, asked, afterwards, &endpoint).await {
            Connection::Cut => return,
            Connection::Whole if last => return session.close().await,
            Connection::Whole => {}
        }
    }
}

/// What a request leaves of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// An answer ended in good order; another request may follow.
    Whole,
    /// It must be dropped as it is, so that the scraper sees that the answer broke off.
    Cut,
}

/// Serves one request: authorize, connect, pass the answer on.
async fn request(
    session: &mut Session,
    asked: Asked,
    afterwards: Afterwards,
    endpoint: &Endpoint,
) -> Connection {
    let begun = Instant::now();
    let gate = &endpoint.gate;
    let with = (asked.answer, afterwards);
    let permit = match authorize::authorize(session, asked.service.clone(), &gate.policy) {
        Ok(permit) => permit,
        Err(refusal) => {
            let refused = refusal.into();
            endpoint.note_refused(session, Some(&asked.service), &refused);
            return refuse(session, refusal, Reveal::Nothing, with, &gate.limits).await;
        }
    };
    let (identity, entry) = (permit.matched().to_owned(), permit.entry().to_string());
    if asked.service.is_reserved() {
        let (content_type, text) = endpoint.metrics.text();
        let sent = respond::own(&mut session.stream, content_type, &text, with, &gate.limits);
        return sent.await.map_or(Connection::Cut, |()| Connection::Whole);
    }
    let ended = scrape(session, &asked, permit, afterwards, gate, begun).await;
    let scraped = Scraped {
        identity: &identity,
        entry: &entry,
        service: &asked.service,
        duration: begun.elapsed(),
    };
    match ended {
        Ok(bytes) => {
            endpoint.note_scraped(session, &scraped, bytes);
            Connection::Whole
        }
        Err(Failed { refused, seen }) => {
            endpoint.note_failed(session, &scraped, &refused);
            let refusal = refused.refusal;
            let reveal = match refusal.stage() {
                Stage::Route | Stage::Upstream | Stage::Respond => Reveal::Reason,
                Stage::Admit | Stage::Handshake | Stage::Authorize => Reveal::Nothing,
            };
            if seen {
                return Connection::Cut;
            }
            refuse(session, refusal, reveal, with, &gate.limits).await
        }
    }
}

/// Scrapes a service that was granted, and says how many bytes its body had.
async fn scrape(
    session: &mut Session,
    asked: &Asked,
    permit: Permit,
    afterwards: Afterwards,
    gate: &Gate,
    begun: Instant,
) -> Result<u64, Failed> {
    let limits = &gate.limits;
    let settings = gate.upstream.settings(permit.service());
    let unseen = |refused| Failed {
        refused,
        seen: false,
    };
    let target = route::target_for(settings, asked.query.as_deref())
        .map_err(|refusal| unseen(refusal.into()))?;
    let deadline = begun + time_for(asked.timeout, settings, limits);
    let connected = gate.upstream.connect(permit, deadline);
    let connected = connected.await.map_err(unseen)?;
    let request = ServiceRequest {
        target,
        asked,
        remaining: deadline.saturating_duration_since(Instant::now()),
    };
    let with = (asked.answer, afterwards);
    let stream = &mut session.stream;
    respond::respond(
        stream, connected, &request, settings, limits, with, deadline,
    )
    .await
}

/// How long a scrape may take.
///
/// The scraper's own timeout less an offset, so that it still hears the reason; for very short
/// ones half of it. The service's setting bounds it, and stands in for it.
fn time_for(asked: Option<Duration>, service: &Service, limits: &Limits) -> Duration {
    let Some(asked) = asked else {
        return service.timeout.unwrap_or(limits.scrape_timeout);
    };
    let usable = asked.saturating_sub(limits.timeout_offset).max(asked / 2);
    service
        .timeout
        .map_or(usable, |longest| usable.min(longest))
}

async fn refuse(
    session: &mut Session,
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
    session: &mut Session,
    refused: &Refused,
    answer: AnswerWith,
    endpoint: &Endpoint,
) {
    endpoint.note_refused(session, None, refused);
    if refused.refusal.seen_as() != SeenAs::Closed {
        let with = (answer, Afterwards::Close);
        let limits = &endpoint.gate.limits;
        refuse(session, refused.refusal, Reveal::Nothing, with, limits).await;
    }
}

/// What to answer a head with that cannot be read otherwise.
fn answer_with(head: &[u8]) -> AnswerWith {
    match head.starts_with(b"HEAD ") {
        true => AnswerWith::HeadAlone,
        false => AnswerWith::Body,
    }
}
