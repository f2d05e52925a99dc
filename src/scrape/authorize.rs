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
/// [`Refusal::NotGranted`]; [`Refusal::Expired`] if the leaf has expired since the handshake.
pub(super) fn authorize(
    presented: &Presented,
    service: ServiceName,
    policy: &Policy,
) -> Result<Permit, Refusal> {
    if presented.has_expired() {
        return Err(Refusal::Expired);
    }
    policy.authorize(&presented.peer, &presented.identity, service)
}
