//! Which refusal a failed handshake is, and what the log says of it.

use std::cell::Cell;
use std::fmt::{self, Display};
use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError};
use tokio::task_local;
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

use crate::identity::Identity;
use crate::refusal::{Refusal, Refused};

task_local! {
    /// What the leaf says of itself whose chain was refused in this handshake: rustls hands out
    /// none but verified ones.
    static REFUSED_LEAF: Cell<Option<String>>;
}

/// Makes a handshake, and notes what a leaf says of itself if it is refused.
pub(super) async fn noting_leaves<T>(handshake: impl Future<Output = T>) -> T {
    REFUSED_LEAF.scope(Cell::default(), handshake).await
}

/// Notes a leaf that is refused. Nobody has proved what it says: it is for the log alone.
pub(super) fn note_leaf(leaf: &[u8]) {
    // Outside of a handshake, a scraper is judged again that is known already.
    let noted = REFUSED_LEAF.try_with(|noted| noted.set(Some(described(leaf))));
    noted.unwrap_or_default();
}

fn described(leaf: &[u8]) -> String {
    let (Ok((_, certificate)), Ok(identity)) =
        (parse_x509_certificate(leaf), Identity::from_leaf(leaf))
    else {
        return "a certificate that cannot be read".to_owned();
    };
    let names = match identity.names() {
        [] => format!("no name ({})", certificate.subject()),
        names => Vec::from_iter(names.iter().map(ToString::to_string)).join(" "),
    };
    let issuer = certificate.issuer();
    format!("{names} of {issuer}, serial {}", identity.serial())
}

/// Which refusal a failed handshake is. Asked while leaves are noted.
pub(super) fn refused(error: io::Error) -> Refused {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref()) {
        Some(tls) => refused_by_tls(tls),
        None => Refused::new(Refusal::Tls, error),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with rustls")]
pub(super) fn refused_by_tls(error: &Error) -> Refused {
    let refusal = match error {
        Error::NoCertificatesPresented => Refusal::NoCertificate,
        Error::InvalidCertRevocationList(_) => Refusal::Revoked,
        Error::InvalidCertificate(error) => certificate_refusal(error),
        _ => Refusal::Tls,
    };
    match REFUSED_LEAF.try_with(Cell::take) {
        Ok(Some(leaf)) => Refused::new(refusal, format_args!("{}; presented: {leaf}", Said(error))),
        Ok(None) | Err(_) => Refused::new(refusal, Said(error)),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with rustls")]
fn certificate_refusal(error: &CertificateError) -> Refusal {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Refusal::Expired,
        CertificateError::Revoked
        | CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => Refusal::Revoked,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Refusal::Usage
        }
        _ => Refusal::Untrusted,
    }
}

/// An error of TLS in the operator's words, where rustls's are others.
struct Said<'a>(&'a Error);

impl Display for Said<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enums grow with rustls")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        match error {
            Error::InvalidCertificate(error) => match error {
                CertificateError::ExpiredContext { not_after, .. } => {
                    write!(f, "it ran out at {}", Date(*not_after))
                }
                CertificateError::NotValidYetContext { not_before, .. } => {
                    write!(f, "it is valid only from {}", Date(*not_before))
                }
                CertificateError::ExpiredRevocationListContext { next_update, .. } => {
                    write!(f, "the CRL of its CA ran out at {}", Date(*next_update))
                }
                CertificateError::UnknownRevocationStatus => {
                    f.write_str("there is no CRL of its CA, or of a CA above it")
                }
                CertificateError::Revoked => f.write_str("a CRL lists it, or a CA above it"),
                CertificateError::UnknownIssuer => f.write_str("it leads to no client CA"),
                CertificateError::InvalidPurposeContext { .. } => {
                    f.write_str("its extended key usages do not name clientAuth")
                }
                // rustls shows errors that are not its own by their structure.
                CertificateError::Other(OtherError(other)) => other.fmt(f),
                error => error.fmt(f),
            },
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                f.write_str("what arrived is not TLS; plain HTTP looks like this")
            }
            Error::AlertReceived(
                alert @ (AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA),
            ) => write!(
                f,
                "the scraper does not trust aegis's certificate ({alert:?}); see its ca_file and server_name"
            ),
            error => error.fmt(f),
        }
    }
}

struct Date(UnixTime);

impl Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(time) = self;
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match ASN1Time::from_timestamp(seconds) {
            Ok(date) => date.fmt(f),
            Err(_) => write!(f, "{seconds} s after 1970"),
        }
    }
}
