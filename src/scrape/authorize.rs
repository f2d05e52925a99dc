//! Stage 4. Asks the policy whether this scraper may scrape this service, for every request.
//!
//! Decides before the socket directory is touched, so that a scraper cannot learn by status,
//! text or time which services there are that it is not granted.

use super::handshake::Presented;
use crate::policy::{Permit, Policy};
use crate::refusal::Refusal;
use crate::service::ServiceName;

/// Decides one request.
///
/// # Errors
/// [`Refusal::NotGranted`].
pub(super) fn authorize(
    presented: &Presented,
    service: ServiceName,
    policy: &Policy,
) -> Result<Permit, Refusal> {
    policy.authorize(&presented.peer, &presented.identity, service)
}
