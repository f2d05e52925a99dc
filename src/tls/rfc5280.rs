//! Rules of RFC 5280 for a certificate that webpki's chain check does not enforce.
//!
//! Applied to a client CA at load, and to a scraper's chain in the handshake, after the chain check.
//! Missing parts, such as key identifiers, are accepted; `docs/certificate-cases.md` says why.

mod names;

use std::error;
use std::fmt;
use std::iter;

use x509_parser::asn1_rs::{Any, FromDer as _, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::oid_registry::{self as oid, Oid};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A certificate's position in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Leaf,
    Intermediate,
    /// A CA that the operator names. Some public CAs have the serial number zero.
    Anchor,
}

/// What is wrong with a certificate. The text starts with a verb and ends with a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    Nameless,
    Serial,
    PaddedSerial,
    Key,
    DuplicateExtension,
    UnreadableExtension,
    HalfIssuer,
    SignsAsLeaf,
    MayNotSign,
    MayNotSignHandshakes,
    ConstrainsAsLeaf,
    ConstrainsNothing,
    PolicyConstraints,
    MappedAddress,
    NoNames,
    UnreadableName,
    Mask,
    PaddedPathLength,
    Dates,
}

impl Violation {
    /// Finds the first violation in a certificate at this position.
    pub(crate) fn of(certificate: &X509Certificate<'_>, position: Position) -> Option<Self> {
        let ca = match position {
            Position::Leaf | Position::Intermediate => certificate.issuer(),
            Position::Anchor => certificate.subject(),
        };
        if ca.iter_rdn().next().is_none() {
            return Some(Self::Nameless);
        }
        let serial = certificate.raw_serial();
        if !is_minimal(serial) {
            return Some(Self::PaddedSerial);
        }
        if position != Position::Anchor && !is_proper_serial(serial) {
            return Some(Self::Serial);
        }
        if !has_der_dates(certificate) {
            return Some(Self::Dates);
        }
        if certificate.extensions_map().is_err() {
            return Some(Self::DuplicateExtension);
        }
        if !is_usable(certificate.public_key()) {
            return Some(Self::Key);
        }
        let mut extensions = certificate.extensions().iter();
        extensions.find_map(|extension| Self::of_extension(extension, position))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum grows with x509-parser"
    )]
    fn of_extension(extension: &X509Extension<'_>, position: Position) -> Option<Self> {
        let is_leaf = position == Position::Leaf;
        match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(by) => {
                let is_half =
                    by.authority_cert_issuer.is_some() != by.authority_cert_serial.is_some();
                is_half.then_some(Self::HalfIssuer)
            }
            // Client CAs are checked for this at load (credentials/ca.rs).
            ParsedExtension::KeyUsage(usage) => match position {
                Position::Leaf if usage.key_cert_sign() => Some(Self::SignsAsLeaf),
                // A handshake is signed with it (RFC 8446, section 4.4.2.2).
                Position::Leaf => {
                    (!usage.digital_signature()).then_some(Self::MayNotSignHandshakes)
                }
                Position::Intermediate => (!usage.key_cert_sign()).then_some(Self::MayNotSign),
                Position::Anchor => None,
            },
            ParsedExtension::NameConstraints(_) if is_leaf => Some(Self::ConstrainsAsLeaf),
            ParsedExtension::NameConstraints(constraints) => names::of_constraints(constraints),
            ParsedExtension::BasicConstraints(constraints) => {
                let length = constraints.path_len_constraint;
                let is_minimal = length.is_none_or(|length| ends_with(extension.value, length));
                (!is_minimal).then_some(Self::PaddedPathLength)
            }
            // The chain check refuses a critical one: aegis does not support policies.
            ParsedExtension::PolicyConstraints(_) if position != Position::Anchor => {
                Some(Self::PolicyConstraints)
            }
            ParsedExtension::SubjectAlternativeName(names) => names::of_names(names, is_leaf),
            ParsedExtension::ParseError { .. } if MUST_BE_READABLE.contains(&extension.oid) => {
                Some(Self::UnreadableExtension)
            }
            _ => None,
        }
    }
}

/// The extensions that must be readable if they are present.
const MUST_BE_READABLE: [Oid<'_>; 6] = [
    oid::OID_PKIX_AUTHORITY_INFO_ACCESS,
    oid::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
    oid::OID_X509_EXT_KEY_USAGE,
    oid::OID_X509_EXT_NAME_CONSTRAINTS,
    oid::OID_X509_EXT_POLICY_CONSTRAINTS,
    oid::OID_X509_EXT_SUBJECT_ALT_NAME,
];

/// Whether an integer has no superfluous leading octet (X.690, section 8.3.2).
///
/// Otherwise one serial number could have two encodings, and a CRL could list the other one.
pub(crate) fn is_minimal(integer: &[u8]) -> bool {
    match integer {
        [0, second, ..] => *second >= 0x80,
        [0xff, second, ..] => *second < 0x80,
        [_, ..] => true,
        [] => false,
    }
}

/// Whether both dates have seconds and end with `Z` (RFC 5280, section 4.1.2.5). x509-parser reads
/// other forms too, and the chain check does not look at the dates of a client CA.
fn has_der_dates(certificate: &X509Certificate<'_>) -> bool {
    const UTC_TIME: usize = "YYMMDDHHMMSSZ".len();
    const GENERALIZED_TIME: usize = "YYYYMMDDHHMMSSZ".len();
    let Ok((_, signed)) = Any::from_der(certificate.tbs_certificate.as_ref()) else {
        return false;
    };
    let mut fields = elements(signed.data).skip_while(|field| field.tag() != Tag::Sequence);
    // After the algorithm and the issuer.
    let Some(validity) = fields.nth(2) else {
        return false;
    };
    let dates = Vec::from_iter(elements(validity.data));
    let is_der = |date: &Any<'_>| {
        let is_long = match date.tag() {
            Tag::UtcTime => date.data.len() == UTC_TIME,
            Tag::GeneralizedTime => date.data.len() == GENERALIZED_TIME,
            _ => false,
        };
        is_long && date.data.ends_with(b"Z")
    };
    dates.len() == 2 && dates.iter().all(is_der)
}

/// The elements of a sequence, up to one that cannot be read.
fn elements(mut rest: &[u8]) -> impl Iterator<Item = Any<'_>> {
    iter::from_fn(move || {
        let (after, element) = Any::from_der(rest).ok()?;
        rest = after;
        Some(element)
    })
}

/// Whether the DER ends with this number as a minimal integer.
fn ends_with(der: &[u8], number: u32) -> bool {
    let octets = number.to_be_bytes();
    // A leading zero keeps the first bit from being the sign.
    let octets = [&[0], &octets[..]].concat();
    let mut integers = (0..octets.len()).filter_map(|skipped| octets.get(skipped..));
    let minimal = integers.find(|integer| is_minimal(integer));
    minimal.is_some_and(|integer| {
        let rest = der.strip_suffix(integer).and_then(|rest| rest.split_last());
        rest.is_some_and(|(length, _)| usize::from(*length) == integer.len())
    })
}

/// Positive, and of 20 octets at most (RFC 5280, section 4.1.2.2), not counting the zero that
/// keeps a first bit from being the sign.
fn is_proper_serial(serial: &[u8]) -> bool {
    match serial {
        [0, value @ ..] => value.iter().any(|octet| *octet != 0) && value.len() <= 20,
        [1..0x80, ..] => serial.len() <= 20,
        [0x80..=0xff, ..] | [] => false,
    }
}

/// Whether aegis can verify signatures of this key, in chains and in TLS.
fn is_usable(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = || key.algorithm.parameters()?.as_oid().ok();
    match key.parsed() {
        // The leading zero means that the first bit is set: the modulus fills whole octets.
        Ok(PublicKey::RSA(rsa)) => match rsa.modulus {
            [0, value @ ..] => (2048 / 8..=8192 / 8).contains(&value.len()),
            [1..=0xff, ..] | [] => false,
        },
        Ok(PublicKey::EC(_)) => curve().is_some_and(|curve| SUPPORTED_CURVES.contains(&curve)),
        Ok(PublicKey::Unknown(_)) => key.algorithm.algorithm == oid::OID_SIG_ED25519,
        Ok(PublicKey::DSA(_) | PublicKey::GostR3410(_) | PublicKey::GostR3410_2012(_)) => false,
        Err(_) => false,
    }
}

const SUPPORTED_CURVES: [Oid<'_>; 3] = [
    oid::OID_EC_P256,
    oid::OID_NIST_EC_P384,
    oid::OID_NIST_EC_P521,
];

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nameless => "has an empty CA name",
            Self::Serial => "has a serial number that is zero, negative or longer than 20 octets",
            Self::PaddedSerial => "has a serial number that is not minimal DER",
            Self::DuplicateExtension => "has a duplicate extension",
            Self::MappedAddress => "has an IPv4-mapped IPv6 address (::ffff:0:0/96) in its subjectAltName",
            Self::NoNames => "has an empty subjectAltName",
            Self::UnreadableName => "has a malformed name in its subjectAltName",
            Self::Mask => "has nameConstraints with an invalid network mask",
            Self::PaddedPathLength => "has a path length that is not minimal DER",
            Self::Dates => "has a date that is not valid DER (YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ)",
            Self::Key => "has an unsupported key; use P-256, P-384, P-521, Ed25519, or RSA of 2048 to 8192 bits (a multiple of 8)",
            Self::UnreadableExtension => "has a malformed extension (authorityInfoAccess, authorityKeyIdentifier, keyUsage, nameConstraints, policyConstraints or subjectAltName)",
            Self::HalfIssuer => "has an authorityKeyIdentifier with only one of issuer and serial number",
            Self::SignsAsLeaf => "has the key usage keyCertSign but is not a CA",
            Self::MayNotSign => "has key usages without keyCertSign, but issued the certificate below it",
            Self::MayNotSignHandshakes => "has key usages without digitalSignature, which TLS needs",
            Self::ConstrainsAsLeaf => "has nameConstraints but is not a CA",
            Self::ConstrainsNothing => "has empty nameConstraints",
            Self::PolicyConstraints => "has policyConstraints, which aegis does not support",
        })?;
        f.write_str("; issue it again")
    }
}

impl error::Error for Violation {}

#[cfg(test)]
mod tests;
