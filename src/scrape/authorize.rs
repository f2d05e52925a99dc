//! Stage 4. Asks the policy, for every request, whether this scraper may scrape this service.
//!
//! It decides before the socket directory is touched. So a scraper cannot learn from status, text or
//! timing which other services exist.

use super::handshake::Presented;
use crate::gate::Gate;
use crate::policy::Permit;
use crate::policy::service_name::ServiceName;
use crate::refusal::Refusal;

/// Decides one request.
///
/// # Errors
/// [`Refusal::NotGranted`].
pub(super) fn authorize(
    presented: &Presented,
    service: ServiceName,
    gate: &Gate,
) -> Result<Permit, Refusal> {
    gate.policy
        .authorize(&presented.peer, &presented.identity, service)
}
