//! Why a client certificate is refused: in words, with the certificate of the chain that has the
//! fault.

mod search;

use std::fmt::{self, Display};

use rustls::{CertificateError, ExtendedKeyPurpose, OtherError};
use x509_parser::certificate::X509Certificate;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use super::verify::{MAX_CHAIN_SIZE, MAX_INTERMEDIATES};
use crate::credentials::ClientCa;
use crate::credentials::revocation::NotGood;
use crate::formalities::{Flaw, Place};
use crate::refusal::Refusal;
pub(super) use search::Search;

/// Which certificate of a chain.
#[derive(Clone, Debug)]
pub(super) enum Who {
    Leaf,
    Intermediate(String),
    ClientCa(String),
}

impl Who {
    pub(super) fn of(certificate: &X509Certificate<'_>, place: Place) -> Self {
        match place {
            Place::Leaf => Self::Leaf,
            Place::Intermediate => Self::Intermediate(named(certificate.subject())),
            Place::Anchor => Self::ClientCa(named(certificate.subject())),
        }
    }

    pub(super) fn client_ca(ca: &ClientCa) -> Self {
        Self::ClientCa(cut(ca.name().to_owned()))
    }
}

/// A name as it stands in a certificate; cut, so that the words after it are seen.
pub(super) fn named(name: &X509Name<'_>) -> String {
    cut(name.to_string())
}

fn cut(name: String) -> String {
    match name.char_indices().nth(MAX_NAME_LENGTH) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name,
    }
}

/// In characters. A distinguished name has three or four parts.
const MAX_NAME_LENGTH: usize = 100;

impl Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf => f.write_str("the certificate"),
            Self::Intermediate(name) => write!(f, "the intermediate certificate ({name})"),
            Self::ClientCa(name) => write!(f, "the client CA ({name})"),
        }
    }
}

/// Why a client certificate is refused. What certificates say stands in it as it is: to be escaped.
#[derive(Debug)]
pub(super) enum Cause {
    TooManyIntermediates(usize),
    /// In bytes.
    TooLarge(usize),
    Unreadable(Who),
    /// At this time, in seconds since the Unix epoch.
    Expired(Who, i64),
    /// It is valid from this time on.
    NotYetValid(Who, i64),
    /// It states other purposes, or none.
    Purpose(Who),
    Flawed(Who, Flaw),
    /// There are more CAs below it than this.
    PathLength(Who, u32),
    NotGood {
        who: Who,
        issuer: String,
        why: NotGood,
    },
    /// This certificate is of an issuer that is no client CA and was not sent along.
    UnknownIssuer(Who, String),
    /// The key of this issuer has not signed it.
    BadSignature(Who, String),
    /// All keys are the right ones, but a CA has the name of one above it.
    NoPath,
    /// Its signature is of an algorithm that is not known, by its object identifier.
    Algorithm(Who, String),
    /// The name constraints of this CA leave out a name below it; `None` if that is not known.
    NameConstraints(Option<Who>),
    /// With the object identifier of the extension.
    CriticalExtension(Who, String),
    CaAsLeaf,
    NotACa(Who),
    /// It breaks RFC 5280 in a way that webpki names and [`Flaw`] does not.
    Broken(Who, &'static str),
    /// It does not follow RFC 5280, in a way that is known by webpki's name alone.
    Other(webpki::Error),
}

impl Cause {
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::Expired(..) | Self::NotYetValid(..) => Refusal::Expired,
            Self::Purpose(_) => Refusal::Usage,
            Self::NotGood { .. } => Refusal::Revoked,
            Self::TooManyIntermediates(_)
            | Self::TooLarge(_)
            | Self::Unreadable(_)
            | Self::Flawed(..)
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

    /// What the scraper is told by a TLS alert: the kind, and nothing else.
    pub(super) fn alert(&self) -> CertificateError {
        match self {
            Self::Expired(..) => CertificateError::Expired,
            Self::NotYetValid(..) => CertificateError::NotValidYet,
            Self::Purpose(_) => CertificateError::InvalidPurposeContext {
                required: ExtendedKeyPurpose::ClientAuth,
                presented: Vec::new(),
            },
            Self::NotGood { why, .. } => match why {
                NotGood::Revoked => CertificateError::Revoked,
                NotGood::NoCrl
                | NotGood::Expired(_)
                | NotGood::NotYetValid(_)
                | NotGood::NotByCrlSigner => CertificateError::UnknownRevocationStatus,
            },
            Self::UnknownIssuer(..) => CertificateError::UnknownIssuer,
            Self::BadSignature(..) => CertificateError::BadSignature,
            Self::Unreadable(_) | Self::CriticalExtension(..) => CertificateError::BadEncoding,
            Self::TooManyIntermediates(_)
            | Self::TooLarge(_)
            | Self::Flawed(..)
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
                "{count} certificates above the leaf; at most {MAX_INTERMEDIATES} are looked at"
            ),
            Self::TooLarge(size) => write!(
                f,
                "certificates of {size} bytes; at most {MAX_CHAIN_SIZE} are looked at"
            ),
            Self::Unreadable(who) => write!(f, "{who} cannot be read"),
            Self::Expired(who, at) => write!(f, "{who} expired at {}", Date(*at)),
            Self::NotYetValid(who, from) => write!(f, "{who} is valid only from {}", Date(*from)),
            Self::Purpose(who) => write!(f, "the extended key usages of {who} do not name clientAuth"),
            Self::Flawed(who, flaw) => write!(f, "{who} {flaw}"),
            Self::PathLength(who, most) => write!(
                f,
                "{who} permits a path length of {most}: there are more CAs between it and the certificate"
            ),
            Self::NotGood { who, issuer, why } => why.fmt_for(f, who, issuer),
            Self::UnknownIssuer(who, issuer) => write!(
                f,
                "{who} does not chain to a client CA: its issuer ({issuer}) is none, and was not sent along"
            ),
            Self::BadSignature(who, issuer) => write!(
                f,
                "{who} names {issuer} as its issuer, but that key has not signed it"
            ),
            Self::NoPath => f.write_str(
                "no path leads to a client CA: one has the name of another above it, and the path over both breaks a path length or name constraints",
            ),
            Self::Algorithm(who, oid) => write!(
                f,
                "{who} is signed with an algorithm ({oid}) that aegis does not verify"
            ),
            Self::NameConstraints(ca) => {
                match ca {
                    Some(ca) => write!(f, "the name constraints of {ca}")?,
                    None => f.write_str("the name constraints of a CA")?,
                }
                f.write_str(" do not permit a name below it; where a CA constrains URIs, email addresses or directory names, aegis permits none")
            }
            Self::CriticalExtension(who, oid) => write!(
                f,
                "{who} has the critical extension {oid}, which aegis does not know"
            ),
            Self::CaAsLeaf => f.write_str(
                "the certificate is that of a CA (basicConstraints CA:TRUE); a scraper needs one of its own",
            ),
            Self::NotACa(who) => write!(
                f,
                "{who} is no CA (basicConstraints CA:TRUE is not in it), but has issued the certificate below it"
            ),
            Self::Broken(who, problem) => write!(f, "{who} {problem}; it must be issued again"),
            Self::Other(webpki::Error::BadDer | webpki::Error::BadDerTime) => f.write_str(
                "a certificate of the chain is not well-formed DER, or has a date before 1970",
            ),
            Self::Other(error) => {
                write!(f, "a certificate of the chain does not follow RFC 5280 ({error:?})")
            }
        }
    }
}

impl NotGood {
    fn fmt_for(self, f: &mut fmt::Formatter<'_>, who: &Who, issuer: &str) -> fmt::Result {
        match self {
            Self::Revoked => write!(f, "a CRL of {issuer} lists {who}"),
            Self::NoCrl => write!(f, "no CRL that {issuer} has signed covers {who}"),
            Self::Expired(at) => write!(
                f,
                "the CRL of {issuer}, which covers {who}, expired at {}",
                Date(at)
            ),
            Self::NotYetValid(from) => write!(
                f,
                "the CRL of {issuer}, which covers {who}, is valid only from {}",
                Date(from)
            ),
            Self::NotByCrlSigner => write!(
                f,
                "the CRL that covers {who} does not count: the key usages of its issuer ({issuer}) leave out cRLSign"
            ),
        }
    }
}

/// In seconds since the Unix epoch.
struct Date(i64);

impl Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(seconds) = self;
        match ASN1Time::from_timestamp(*seconds) {
            Ok(date) => date.fmt(f),
            Err(_) => write!(f, "{seconds} s after 1970"),
        }
    }
}
