//! Real names and peers. Stub: scrapers without certificates, and a policy that grants all or
//! nothing.

pub mod peer;
pub mod service_name;

use crate::refusal::Refusal;
use identity::Identity;
use peer::Peer;
use service_name::ServiceName;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Grants,
    Denies,
}

/// Proof of a grant.
pub(crate) struct Permit;

impl Policy {
    pub(crate) fn authorize(
        &self,
        _: &Peer,
        _: &Identity,
        _: ServiceName,
    ) -> Result<Permit, Refusal> {
        match self {
            Self::Grants => Ok(Permit),
            Self::Denies => Err(Refusal::NotGranted),
        }
    }
}

pub(crate) mod identity {
    /// A scraper, by its number.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ScraperId(pub(crate) u8);

    #[derive(Clone, Debug)]
    pub struct Identity(pub(crate) ScraperId);

    impl Identity {
        pub(crate) fn scraper(&self) -> ScraperId {
            self.0
        }
    }
}
