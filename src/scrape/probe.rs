//! A scrape by the operator: the socket and the answer as for any scraper, but no network, no TLS
//! and no policy. Whoever may connect to the sockets could do as much without aegis.

use std::time::Duration;

use tokio::io::{duplex, join, sink};
use tokio::time::Instant;

use super::respond::{Scraper, ServiceRequest};
use super::route::time_for;
use super::route::{Afterwards, AnswerWith, Asked, Heads, Wanted};
use super::upstream::Upstream;
use crate::config::Limits;
use crate::refusal::{Refusal, Refused};
use crate::service::ServiceName;

/// A service that was scraped as a whole, with status 200.
#[derive(Clone, Copy, Debug)]
pub struct Probed {
    /// The bytes of its answer's body.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

/// Scrapes a service once and throws away what it says.
///
/// # Errors
/// What a scraper would be refused with that is granted the service.
pub async fn probe(
    upstream: &Upstream,
    service: &ServiceName,
    limits: &Limits,
) -> Result<Probed, Refused> {
    let begun = Instant::now();
    let started = upstream.closer().start();
    started.map_err(|error| Refused::new(Refusal::Connect, error))?;
    let settings = upstream.settings(service);
    let deadline = begun + time_for(None, settings, limits);
    let connected = upstream.find_unasked(service)?.connect(deadline).await?;
    let asked = Asked {
        wanted: Wanted::Service(service.clone()),
        query: None,
        answer: AnswerWith::Body,
        accept: None,
        accept_encoding: None,
        timeout: None,
        afterwards: Afterwards::Close,
    };
    let request = ServiceRequest {
        target: settings.path.clone(),
        asked: &asked,
        remaining: deadline.saturating_duration_since(Instant::now()),
    };
    // A scraper that takes everything and says nothing: it is there as long as `_other_end`.
    let (silent, _other_end) = duplex(1);
    let mut scraper = Scraper {
        stream: &mut join(silent, sink()),
        heads: &mut Heads::default(),
        deadline,
        limits,
    };
    let with = (asked.answer, asked.afterwards);
    let responded = scraper.respond(connected, &request, settings, with).await;
    Ok(Probed {
        bytes: responded.map_err(|failed| failed.refused)?,
        duration: begun.elapsed(),
    })
}
