//! Maps a failed handshake to its refusal and its log detail.

use std::cell::Cell;
use std::fmt::{self, Display};
use std::io;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};
use tokio::task_local;
use x509_parser::parse_x509_certificate;

use super::cause::{Cause, words};
use crate::policy::identity::Identity;
use crate::refusal::{Refusal, Refused};
use crate::text::escaped::Escaped;

task_local! {
    /// Why this handshake's certificate was refused, and its unverified names: rustls returns
    /// verified certificates only.
    static CERTIFICATE_REFUSED: Cell<Option<Refused>>;
}

/// Runs a handshake, and records why its certificate is refused, if it is.
pub(crate) async fn with_rejected_leaf_capture<T>(handshake: impl Future<Output = T>) -> T {
    CERTIFICATE_REFUSED.scope(Cell::default(), handshake).await
}

/// Records why a certificate is refused, with its unverified names. They are only for the log.
pub(super) fn record(cause: &Cause, leaf: &[u8]) {
    let (cause, described) = (Refused::from(cause), described(leaf));
    let presented = Escaped(described.as_bytes());
    let detail = cause.detail.unwrap_or_default();
    let refused = Refused {
        refusal: cause.refusal,
        detail: Some(format!("{detail}; presented: {presented}")),
    };
    // There is no handshake when `explain` verifies a certificate.
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

/// The refusal for a failed handshake. Must be called inside [`with_rejected_leaf_capture`].
pub(crate) fn refusal_of_handshake_error(error: io::Error) -> Refused {
    if let Ok(Some(refused)) = CERTIFICATE_REFUSED.try_with(Cell::take) {
        return refused;
    }
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref()) {
        Some(Error::NoCertificatesPresented) => Refusal::NoCertificate.into(),
        // A cause in the chain would have been recorded.
        Some(Error::InvalidCertificate(_)) => Refused::new(
            Refusal::Untrusted,
            "the scraper did not prove that it has the private key of its certificate",
        ),
        Some(tls) => Refused::new(Refusal::Tls, TlsError(tls)),
        None => Refused::new(Refusal::Tls, error),
    }
}

/// A TLS error in plain words.
struct TlsError<'a>(&'a Error);

impl Display for TlsError<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enums grow with rustls")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                f.write_str("received data that is not TLS, for example plain HTTP")
            }
            Error::AlertReceived(
                alert @ (AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA),
            ) => write!(
                f,
                "the scraper does not trust aegis's certificate (alert {}); check its ca_file and server_name",
                words(alert, "_")
            ),
            Error::AlertReceived(alert) => {
                write!(
                    f,
                    "the scraper aborted the handshake (alert {})",
                    words(alert, "_")
                )
            }
            Error::PeerIncompatible(why) => match why {
                PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::SupportedVersionsExtensionRequired => {
                    f.write_str("the scraper offers no TLS version that tls.min_version allows")
                }
                PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::NoKxGroupsInCommon
                | PeerIncompatible::NoSignatureSchemesInCommon => {
                    write!(
                        f,
                        "the scraper offers no algorithm that aegis supports ({})",
                        words(why, " ")
                    )
                }
                why => write!(f, "the scraper's TLS is incompatible ({})", words(why, " ")),
            },
            Error::NoApplicationProtocol => {
                f.write_str("the scraper does not offer http/1.1 (ALPN)")
            }
            error => error.fmt(f),
        }
    }
}
