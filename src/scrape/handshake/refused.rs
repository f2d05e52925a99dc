//! Which refusal a failed handshake is, and what the log says of it.

use std::cell::Cell;
use std::fmt::{self, Display};
use std::io;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};
use tokio::task_local;
use x509_parser::parse_x509_certificate;

use super::cause::Cause;
use crate::escaped::Escaped;
use crate::identity::Identity;
use crate::refusal::{Refusal, Refused};

task_local! {
    /// Why the certificate of this handshake was refused, and what it says of itself: rustls hands
    /// out none but verified ones.
    static CERTIFICATE_REFUSED: Cell<Option<Refused>>;
}

/// Makes a handshake, and notes why its certificate is refused, if it is.
pub(super) async fn noting_certificates<T>(handshake: impl Future<Output = T>) -> T {
    CERTIFICATE_REFUSED.scope(Cell::default(), handshake).await
}

/// Notes why a certificate is refused, with what it says of itself. That is not proved: it is
/// for the log alone.
pub(super) fn note(cause: &Cause, leaf: &[u8]) {
    let (cause, described) = (Refused::from(cause), described(leaf));
    let presented = Escaped(described.as_bytes());
    let detail = cause.detail.unwrap_or_default();
    let refused = Refused {
        refusal: cause.refusal,
        detail: Some(format!("{detail}; presented: {presented}")),
    };
    // Outside of a handshake nothing is presented.
    let noted = CERTIFICATE_REFUSED.try_with(|noted| noted.set(Some(refused)));
    noted.unwrap_or_default();
}

impl From<&Cause> for Refused {
    fn from(cause: &Cause) -> Self {
        Self::new(cause.refusal(), cause)
    }
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

/// Which refusal a failed handshake is. Asked where certificates are noted.
pub(super) fn refused(error: io::Error) -> Refused {
    if let Ok(Some(refused)) = CERTIFICATE_REFUSED.try_with(Cell::take) {
        return refused;
    }
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref()) {
        Some(Error::NoCertificatesPresented) => Refusal::NoCertificate.into(),
        // Of the chain, the cause would have been noted.
        Some(Error::InvalidCertificate(_)) => Refused::new(
            Refusal::Untrusted,
            "the scraper has not proved that it has the private key of its certificate",
        ),
        Some(tls) => Refused::new(Refusal::Tls, Said(tls)),
        None => Refused::new(Refusal::Tls, error),
    }
}

/// An error of TLS in the operator's words, where rustls's are others.
struct Said<'a>(&'a Error);

impl Display for Said<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enums grow with rustls")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        match error {
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
            Error::AlertReceived(alert) => {
                write!(f, "the scraper broke the handshake off (alert {alert:?})")
            }
            Error::PeerIncompatible(why) => match why {
                PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::SupportedVersionsExtensionRequired => {
                    f.write_str("the scraper speaks no version of TLS that tls.min_version admits")
                }
                PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::NoKxGroupsInCommon
                | PeerIncompatible::NoSignatureSchemesInCommon => {
                    write!(
                        f,
                        "the scraper offers no algorithm that aegis takes ({why:?})"
                    )
                }
                why => write!(f, "the scraper's TLS does not fit ({why:?})"),
            },
            Error::NoApplicationProtocol => {
                f.write_str("the scraper offers other protocols than HTTP/1.1 (ALPN)")
            }
            error => error.fmt(f),
        }
    }
}
