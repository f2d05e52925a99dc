//! Scrapes a service for the operator: through the socket and the rules of answers as for a scraper,
//! but without network, TLS and policy. Any user who may connect to the sockets could do the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{duplex, join, sink};
use tokio::time::Instant;

use super::respond::{ScraperWriter, ServiceRequest};
use super::{route, upstream};
use crate::config::Limits;
use crate::http::{BodyPolicy, Persistence, Reply, RequestReader};
use crate::policy::identity::ScraperId;
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};
use crate::services::ServiceRegistry;

/// The result of a successful scrape.
#[derive(Clone, Copy, Debug)]
pub struct Probed {
    /// The size of the answer's body.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

/// Scrapes a service once, and discards the body.
///
/// # Errors
/// The refusal that a scraper with a grant would get.
pub async fn probe(
    services: &ServiceRegistry,
    service: &ServiceName,
    limits: &Limits,
) -> Result<Probed, Refused> {
    let start = Instant::now();
    let closer = services.shared().closer().start();
    closer.map_err(|error| Refused::new(Refusal::Connect, error))?;
    let settings = services.settings(service);
    let deadline = start + route::scrape_timeout(None, settings, limits);
    let limiter = Arc::default();
    let guard = upstream::acquire(&limiter, services, service, ScraperId::operator(), deadline);
    let found = upstream::find_without_permit(services, service, guard.await?).await?;
    let connected = found.connect(deadline).await?;
    let request = ServiceRequest {
        target: settings.path.clone(),
        host: &settings.host,
        accept: None,
        accept_encoding: None,
        remaining: deadline.saturating_duration_since(Instant::now()),
    };
    // A scraper that reads everything and sends nothing. It stays connected as long as `_other_end`
    // lives.
    let (silent, _other_end) = duplex(1);
    let mut writer = ScraperWriter {
        stream: &mut join(silent, sink()),
        reader: &mut RequestReader::default(),
        deadline,
        limits,
    };
    let reply = Reply {
        body: BodyPolicy::Send,
        persistence: Persistence::Close,
    };
    let responded = writer.respond(connected, &request, settings, reply).await;
    Ok(Probed {
        bytes: responded.map_err(|failure| failure.refused)?,
        duration: start.elapsed(),
    })
}
