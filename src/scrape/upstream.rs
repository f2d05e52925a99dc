//! Stage 5. Turns a permit into a connection to the service's socket, and to no other.

use std::sync::Arc;

use tokio::time::Instant;

use crate::config::Owner;
use crate::io::deadline;
use crate::io::unix_socket::{Closer, PeerStream};
use crate::policy::Permit;
use crate::policy::identity::ScraperId;
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};
use crate::services::{OpenSocket, ServiceRegistry, dial};
use crate::state::{ConcurrencyGuard, ConcurrencyLimiter};

/// Waits for a slot of the service, until the deadline.
///
/// # Errors
/// [`Refusal::Busy`].
pub(super) async fn acquire(
    limiter: &Arc<ConcurrencyLimiter>,
    services: &ServiceRegistry,
    service: &ServiceName,
    scraper: ScraperId,
    deadline: Instant,
) -> Result<ConcurrencyGuard, Refused> {
    let max = services.settings(service).max_concurrent;
    let guard = ConcurrencyLimiter::acquire(limiter, service, scraper, max);
    deadline::by(deadline, guard).await.unwrap_or_else(|| {
        let detail = format_args!("max_concurrent = {max}, and none ended in time");
        Err(Refused::new(Refusal::Busy, detail))
    })
}

/// Finds the socket of the service that the permit names, and uses up the permit.
///
/// # Errors
/// As [`ServiceRegistry::open_for_scrape`].
pub(super) async fn find(
    services: &ServiceRegistry,
    permit: Permit,
    guard: ConcurrencyGuard,
) -> Result<Found, Refused> {
    find_without_permit(services, permit.service(), guard).await
}

/// As [`find`], for the operator, who needs no permit.
pub(super) async fn find_without_permit(
    services: &ServiceRegistry,
    service: &ServiceName,
    guard: ConcurrencyGuard,
) -> Result<Found, Refused> {
    Ok(Found {
        socket: services.open_for_scrape(service).await?,
        owner: services.owner(service),
        guard,
        closer: Arc::clone(services.shared().closer()),
    })
}

/// A service's socket after all checks that need no connection, with the slot of the scrape.
#[derive(Debug)]
pub(super) struct Found {
    socket: OpenSocket,
    owner: Option<Owner>,
    guard: ConcurrencyGuard,
    closer: Arc<Closer>,
}

impl Found {
    /// Connects to the service.
    ///
    /// # Errors
    /// [`Refusal::Connect`], or [`Refusal::Owner`] if the wrong user listens on the socket.
    pub(super) async fn connect(self, deadline: Instant) -> Result<Connected, Refused> {
        let (stream, passing) = dial(self.socket, deadline).await?;
        let stream = PeerStream::new(stream, self.guard, passing, &self.closer);
        let stream = stream.map_err(|error| Refused::new(Refusal::Connect, error))?;
        if let Some(owner) = self.owner {
            let user = stream.listening_user();
            let user = user.map_err(|error| Refused::new(Refusal::Owner, error))?;
            if let Some(detail) = owner.mismatch(user, "answers on the socket") {
                return Err(Refused::new(Refusal::Owner, detail));
            }
        }
        Ok(stream)
    }
}

/// A connection to a service, with the slot of the scrape.
pub(super) type Connected = PeerStream<ConcurrencyGuard>;
