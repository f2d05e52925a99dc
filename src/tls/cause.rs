//! Why a client certificate is refused, and which certificate of the chain is at fault.

mod search;

use std::fmt::{self, Display};

use rustls::{CertificateError, ExtendedKeyPurpose, OtherError};
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::X509Name;

use crate::refusal::Refusal;
use crate::text::time::rfc3339;
use crate::tls::credentials::ClientCa;
use crate::tls::credentials::revocation::RevocationProblem;
use crate::tls::rfc5280::{Position, Violation};
pub(super) use search::Search;

/// Chains have one or two. Each more multiplies the work that an unknown client can cause.
pub(super) const MAX_INTERMEDIATES: usize = 4;

/// In bytes, for all certificates together. Five with long RSA keys need half of it.
pub(super) const MAX_CHAIN_BYTES: usize = 24 * 1024;

/// Which certificate of a chain.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Leaf,
    Intermediate(String),
    ClientCa(String),
}

impl Subject {
    pub(super) fn of(certificate: &X509Certificate<'_>, position: Position) -> Self {
        match position {
            Position::Leaf => Self::Leaf,
            Position::Intermediate => Self::Intermediate(named(certificate.subject())),
            Position::Anchor => Self::ClientCa(named(certificate.subject())),
        }
    }

    pub(super) fn client_ca(ca: &ClientCa) -> Self {
        Self::ClientCa(cut(ca.name().to_owned()))
    }
}

/// A certificate's name, cut so that the words after it stay visible.
pub(super) fn named(name: &X509Name<'_>) -> String {
    cut(name.to_string())
}

fn cut(name: String) -> String {
    match name.char_indices().nth(MAX_NAME_CHARS) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name,
    }
}

/// A distinguished name has three or four parts.
const MAX_NAME_CHARS: usize = 100;

impl Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf => f.write_str("the certificate"),
            Self::Intermediate(name) => write!(f, "the intermediate certificate ({name})"),
            Self::ClientCa(name) => write!(f, "the client CA ({name})"),
        }
    }
}

/// Why a client certificate is refused. Names from certificates are in it unescaped.
#[derive(Debug)]
pub(super) enum Cause {
    TooManyIntermediates(usize),
    /// In bytes.
    TooLarge(usize),
    Unreadable(Subject),
    /// When it expired, in seconds since the Unix epoch.
    Expired(Subject, i64),
    /// When it becomes valid, in seconds since the Unix epoch.
    NotYetValid(Subject, i64),
    /// Its extended key usages lack clientAuth, or it has none.
    Purpose(Subject),
    Violation(Subject, Violation),
    /// It permits so many CAs below it, and there are more.
    PathLength(Subject, u32),
    RevocationProblem {
        subject: Subject,
        issuer: String,
        why: RevocationProblem,
    },
    /// Its issuer is not a client CA, and the scraper did not send the issuer's certificate.
    UnknownIssuer(Subject, String),
    /// It is not signed with the key of this issuer.
    BadSignature(Subject, String),
    /// All signatures are good, but a CA has the name of one above it.
    NoPath,
    /// Its signature algorithm, by object identifier, is unknown.
    Algorithm(Subject, String),
    /// The name constraints of this CA exclude a name below it; `None` if the CA is unknown.
    NameConstraints(Option<Subject>),
    /// With the object identifier of the extension.
    CriticalExtension(Subject, String),
    CaAsLeaf,
    NotACa(Subject),
    /// It breaks a rule of RFC 5280 that webpki checks and [`Violation`] does not.
    Broken(Subject, &'static str),
    /// It breaks a rule of RFC 5280 that only webpki names.
    Other(webpki::Error),
}

impl Cause {
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::Expired(..) | Self::NotYetValid(..) => Refusal::Expired,
            Self::Purpose(_) => Refusal::Usage,
            Self::RevocationProblem { .. } => Refusal::Revoked,
            Self::TooManyIntermediates(_)
            | Self::TooLarge(_)
            | Self::Unreadable(_)
            | Self::Violation(..)
            | Self::PathLength(..)
            | Self::UnknownIssuer(..)
            | Self::BadSignature(..)
            | Self::NoPath
            | Self::Algorithm(..)
            | Self::NameConstraints(_)
            | Self::CriticalExtension(..)
            | Self::CaAsLeaf
            | Self::NotACa(_)
            | Self::Broken(..)
            | Self::Other(_) => Refusal::Untrusted,
        }
    }

    /// The error whose TLS alert the scraper gets: it shows the kind and nothing else.
    pub(super) fn alert(&self) -> CertificateError {
        match self {
            Self::Expired(..) => CertificateError::Expired,
            Self::NotYetValid(..) => CertificateError::NotValidYet,
            Self::Purpose(_) => CertificateError::InvalidPurposeContext {
                required: ExtendedKeyPurpose::ClientAuth,
                presented: Vec::new(),
            },
            Self::RevocationProblem { why, .. } => match why {
                RevocationProblem::Revoked => CertificateError::Revoked,
                RevocationProblem::NoCrl
                | RevocationProblem::Expired(_)
                | RevocationProblem::NotYetValid(_)
                | RevocationProblem::IssuerMayNotSignCrls => {
                    CertificateError::UnknownRevocationStatus
                }
            },
            Self::UnknownIssuer(..) => CertificateError::UnknownIssuer,
            Self::BadSignature(..) => CertificateError::BadSignature,
            Self::Unreadable(_) | Self::CriticalExtension(..) => CertificateError::BadEncoding,
            Self::TooManyIntermediates(_)
            | Self::TooLarge(_)
            | Self::Violation(..)
            | Self::PathLength(..)
            | Self::NoPath
            | Self::Algorithm(..)
            | Self::NameConstraints(_)
            | Self::CaAsLeaf
            | Self::NotACa(_)
            | Self::Broken(..)
            | Self::Other(_) => {
                CertificateError::Other(OtherError(std::sync::Arc::new(fmt::Error)))
            }
        }
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyIntermediates(count) => write!(
                f,
                "{count} certificates above the leaf; aegis accepts at most {MAX_INTERMEDIATES}"
            ),
            Self::TooLarge(size) => write!(
                f,
                "certificates of {size} bytes; aegis accepts at most {MAX_CHAIN_BYTES}"
            ),
            Self::Unreadable(subject) => write!(f, "{subject} cannot be read"),
            Self::Expired(subject, at) => write!(f, "{subject} expired at {}", rfc3339(*at)),
            Self::NotYetValid(subject, from) => write!(f, "{subject} is valid only from {}", rfc3339(*from)),
            Self::Purpose(subject) => write!(f, "the extended key usages of {subject} do not include clientAuth"),
            Self::Violation(subject, violation) => write!(f, "{subject} {violation}"),
            Self::PathLength(subject, most) => write!(
                f,
                "{subject} permits a path length of {most}: there are more CAs between it and the certificate"
            ),
            Self::RevocationProblem { subject, issuer, why } => why.fmt(f, subject, issuer),
            Self::UnknownIssuer(subject, issuer) => write!(
                f,
                "{subject} does not chain to a client CA: its issuer ({issuer}) is not one, and the scraper did not send the certificate of the issuer"
            ),
            Self::BadSignature(subject, issuer) => write!(
                f,
                "{subject} names {issuer} as its issuer, but is not signed with the key of that CA"
            ),
            Self::NoPath => f.write_str(
                "no valid path to a client CA: a CA has the name of another one above it, and the path through both breaks a path length or name constraints",
            ),
            Self::Algorithm(subject, oid) => write!(
                f,
                "{subject} is signed with an algorithm ({oid}) that aegis does not support"
            ),
            Self::NameConstraints(ca) => {
                match ca {
                    Some(ca) => write!(f, "the name constraints of {ca}")?,
                    None => f.write_str("the name constraints of a CA")?,
                }
                f.write_str(" do not permit a name below it; if a CA constrains URIs, email addresses or directory names, aegis permits none of them")
            }
            Self::CriticalExtension(subject, oid) => write!(
                f,
                "{subject} has the critical extension {oid}, which aegis does not support"
            ),
            Self::CaAsLeaf => f.write_str(
                "the certificate is a CA (basicConstraints CA:TRUE); a scraper needs a certificate of its own",
            ),
            Self::NotACa(subject) => write!(
                f,
                "{subject} is not a CA (it lacks basicConstraints CA:TRUE), but issued the certificate below it"
            ),
            Self::Broken(subject, problem) => write!(f, "{subject} {problem}; issue it again"),
            Self::Other(webpki::Error::BadDer | webpki::Error::BadDerTime) => f.write_str(
                "a certificate of the chain is not valid DER, or has a date before 1970",
            ),
            Self::Other(error) => {
                write!(f, "a certificate of the chain does not follow RFC 5280 ({})", words(error, " "))
            }
        }
    }
}

impl RevocationProblem {
    fn fmt(self, f: &mut fmt::Formatter<'_>, subject: &Subject, issuer: &str) -> fmt::Result {
        match self {
            Self::Revoked => write!(f, "a CRL of {issuer} lists {subject}"),
            Self::NoCrl => write!(f, "no CRL signed by {issuer} covers {subject}"),
            Self::Expired(at) => write!(
                f,
                "the CRL of {issuer}, which covers {subject}, expired at {}",
                rfc3339(at)
            ),
            Self::NotYetValid(from) => write!(
                f,
                "the CRL of {issuer}, which covers {subject}, is valid only from {}",
                rfc3339(from)
            ),
            Self::IssuerMayNotSignCrls => write!(
                f,
                "the CRL that covers {subject} is ignored: the key usages of its issuer ({issuer}) lack cRLSign"
            ),
        }
    }
}

/// The name of a variant, without its fields, as lower-case words.
pub(super) fn words(variant: &dyn fmt::Debug, separator: &str) -> String {
    let debug = format!("{variant:?}");
    let name = debug.split(|c: char| !c.is_alphanumeric()).next();
    let mut words = String::new();
    let mut after_lower = false;
    for letter in name.unwrap_or_default().chars() {
        if letter.is_uppercase() && after_lower {
            words.push_str(separator);
        }
        after_lower = !letter.is_uppercase();
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_written_as_words() {
        let error = webpki::Error::CaUsedAsEndEntity;
        assert_eq!(words(&error, " "), "ca used as end entity");
        let alert = rustls::AlertDescription::UnknownCA;
        assert_eq!(words(&alert, "_"), "unknown_ca");
        let expired = CertificateError::ExpiredContext {
            time: rustls::pki_types::UnixTime::now(),
            not_after: rustls::pki_types::UnixTime::now(),
        };
        assert_eq!(words(&expired, " "), "expired context");
    }
}
