//! What runs out some day, and when to say so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::certificate::X509Certificate;
use x509_parser::time::ASN1Time;

/// What kind of thing runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The server's own certificate.
    Server,
    /// A CA that client certificates lead to.
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

/// A certificate or a CRL that runs out.
#[derive(Clone, Debug)]
pub struct Expiry {
    /// What kind of thing it is.
    pub role: Role,
    /// Whose expiry it is.
    pub what: String,
    /// When, in seconds since the Unix epoch.
    pub at: i64,
    /// How long before that it is said.
    pub warn_ahead: Duration,
    /// What happens then.
    pub afterwards: &'static str,
}

impl Expiry {
    pub(super) fn of(role: Role, certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        let (from, at) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        // Short-lived ones are renewed in the last third of their life.
        let third = at.saturating_sub(from).checked_div(3);
        let third = third.and_then(|third| u64::try_from(third).ok());
        Self {
            role,
            what: format!("{} ({})", role.name(), super::ca::subject_of(certificate)),
            at,
            warn_ahead: WARN_AHEAD.min(Duration::from_secs(third.unwrap_or_default())),
            afterwards: "scrapes fail until a new one is given",
        }
    }

    /// Seconds that are left; below 0 once it has run out.
    #[must_use]
    pub fn left(&self) -> i64 {
        seconds_until(self.at)
    }

    /// What to say of it by now, if anything.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let left = self.left();
        let date =
            ASN1Time::from_timestamp(self.at).map_or_else(|_| "?".to_owned(), |at| at.to_string());
        let Self {
            what, afterwards, ..
        } = self;
        match u64::try_from(left) {
            Err(_) => Some(format!("{what} ran out at {date}: {afterwards}")),
            Ok(left) if Duration::from_secs(left) < self.warn_ahead => Some(format!(
                "{what} runs out at {date}; renew it: then {afterwards}"
            )),
            Ok(_) => None,
        }
    }
}

/// From now to a time in seconds since the Unix epoch; below 0 once it has passed.
///
/// Before 1970 nothing is valid: by a clock that says so, everything has passed.
pub(crate) fn seconds_until(at: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(i64::MAX, |now| now.as_secs().cast_signed());
    at.saturating_sub(now)
}

const WARN_AHEAD: Duration = Duration::from_secs(30 * 24 * 60 * 60);
