//! Certificates and CRLs that expire, and when aegis warns about them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::certificate::X509Certificate;

use crate::text::time::rfc3339;

/// What expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The server's own certificate.
    Server,
    /// A CA that client certificates chain to.
    ClientCa,
    /// A CRL for client certificates.
    Crl,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "the server certificate",
            Self::ClientCa => "the client CA",
            Self::Crl => "the CRL",
        }
    }
}

/// When a certificate or a CRL expires.
#[derive(Clone, Debug)]
pub struct Expiry {
    /// What kind of thing it is.
    pub role: Role,
    /// The certificate or CRL, as messages name it.
    pub what: String,
    /// When it became valid, in seconds since the Unix epoch.
    pub from: i64,
    /// When it expires, in seconds since the Unix epoch.
    pub at: i64,
    /// How long before that aegis warns.
    pub warn_before: Duration,
    /// What happens then, until there is a newer one.
    pub consequence: &'static str,
}

impl Expiry {
    pub(super) fn of(role: Role, certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        let (from, at) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        // Short-lived certificates are renewed in the last third of their lifetime.
        let third = at.saturating_sub(from).checked_div(3);
        let third = third.and_then(|third| u64::try_from(third).ok());
        Self {
            role,
            what: format!("{} ({})", role.name(), super::ca::subject_of(certificate)),
            from,
            at,
            warn_before: WARN_BEFORE.min(Duration::from_secs(third.unwrap_or_default())),
            consequence: match role {
                Role::Server => "scrapes fail",
                // Those of other CAs go on.
                Role::ClientCa | Role::Crl => "aegis refuses its certificates",
            },
        }
    }

    /// Seconds until it expires; negative afterwards.
    #[must_use]
    pub fn left(&self) -> i64 {
        seconds_until(self.at)
    }

    /// The warning that is due now, if any.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let left = self.left();
        let date = rfc3339(self.at);
        let Self {
            what, consequence, ..
        } = self;
        match u64::try_from(left) {
            Err(_) => Some(format!(
                "{what} expired at {date}: {consequence} until there is a newer one"
            )),
            Ok(left) if Duration::from_secs(left) < self.warn_before => Some(format!(
                "{what} expires at {date}; renew it before then, because {consequence} after it"
            )),
            Ok(_) => None,
        }
    }
}

/// Seconds from now to a time since the Unix epoch; negative once it has passed.
///
/// If the clock is before 1970, everything has expired.
pub(crate) fn seconds_until(at: i64) -> i64 {
    at.saturating_sub(now())
}

/// The time in seconds since the Unix epoch; `i64::MAX` if the clock is before 1970.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(i64::MAX, |now| now.as_secs().cast_signed())
}

const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
