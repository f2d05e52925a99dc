//! What RFC 5280 forbids in a certificate and the chain check passes over.
//!
//! Asked of a client CA at load and of a scraper's chain in the handshake, after the chain check.
//! What is merely missing is let pass, as key identifiers are; `docs/certificate-cases.md` says why.

mod names;

use std::error;
use std::fmt;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::oid_registry::{self as oid, Oid};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Where in a chain a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Leaf,
    Intermediate,
    /// A CA that the operator names. Public ones have the serial number zero, and are trusted.
    Anchor,
}

/// What is wrong with a certificate, beginning with its verb, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
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
}

impl Flaw {
    /// Looks for one in a certificate that stands at this place.
    pub(crate) fn of(certificate: &X509Certificate<'_>, place: Place) -> Option<Self> {
        let ca = match place {
            Place::Leaf | Place::Intermediate => certificate.issuer(),
            Place::Anchor => certificate.subject(),
        };
        if ca.iter_rdn().next().is_none() {
            return Some(Self::Nameless);
        }
        let serial = certificate.raw_serial();
        if !is_minimal(serial) {
            return Some(Self::PaddedSerial);
        }
        if place != Place::Anchor && !is_proper_serial(serial) {
            return Some(Self::Serial);
        }
        if certificate.extensions_map().is_err() {
            return Some(Self::DuplicateExtension);
        }
        if !is_usable(certificate.public_key()) {
            return Some(Self::Key);
        }
        let mut extensions = certificate.extensions().iter();
        extensions.find_map(|extension| Self::of_extension(extension, place))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum grows with x509-parser"
    )]
    fn of_extension(extension: &X509Extension<'_>, place: Place) -> Option<Self> {
        let is_leaf = place == Place::Leaf;
        match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(by) => {
                let is_half =
                    by.authority_cert_issuer.is_some() != by.authority_cert_serial.is_some();
                is_half.then_some(Self::HalfIssuer)
            }
            // Of a CA that is trusted, this is asked at load (credentials/ca.rs).
            ParsedExtension::KeyUsage(usage) => match place {
                Place::Leaf if usage.key_cert_sign() => Some(Self::SignsAsLeaf),
                // A handshake is signed with it (RFC 8446, section 4.4.2.2).
                Place::Leaf => (!usage.digital_signature()).then_some(Self::MayNotSignHandshakes),
                Place::Intermediate => (!usage.key_cert_sign()).then_some(Self::MayNotSign),
                Place::Anchor => None,
            },
            ParsedExtension::NameConstraints(_) if is_leaf => Some(Self::ConstrainsAsLeaf),
            ParsedExtension::NameConstraints(constraints) => names::of_constraints(constraints),
            ParsedExtension::BasicConstraints(constraints) => {
                let length = constraints.path_len_constraint;
                let is_minimal = length.is_none_or(|length| ends_with(extension.value, length));
                (!is_minimal).then_some(Self::PaddedPathLength)
            }
            // The chain check refuses a critical one: nothing here knows of policies.
            ParsedExtension::PolicyConstraints(_) if place != Place::Anchor => {
                Some(Self::PolicyConstraints)
            }
            ParsedExtension::SubjectAlternativeName(names) => names::of_names(names, is_leaf),
            ParsedExtension::ParseError { .. } if JUDGED.contains(&extension.oid) => {
                Some(Self::UnreadableExtension)
            }
            _ => None,
        }
    }
}

/// The extensions that must be readable if they are there.
const JUDGED: [Oid<'_>; 6] = [
    oid::OID_PKIX_AUTHORITY_INFO_ACCESS,
    oid::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
    oid::OID_X509_EXT_KEY_USAGE,
    oid::OID_X509_EXT_NAME_CONSTRAINTS,
    oid::OID_X509_EXT_POLICY_CONSTRAINTS,
    oid::OID_X509_EXT_SUBJECT_ALT_NAME,
];

/// Whether an integer has no octet in front that it could do without (X.690, section 8.3.2).
///
/// One serial number written in two ways would be two: a CRL could list the other.
pub(crate) fn is_minimal(integer: &[u8]) -> bool {
    match integer {
        [0, second, ..] => *second >= 0x80,
        [0xff, second, ..] => *second < 0x80,
        [_, ..] => true,
        [] => false,
    }
}

/// Whether the DER ends with this number, as an integer without an octet too many.
fn ends_with(der: &[u8], number: u32) -> bool {
    let octets = number.to_be_bytes();
    // One zero in front says that the first bit is no sign.
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

/// Whether the key is of a kind that signatures are verified with, in chains and in TLS.
fn is_usable(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = || key.algorithm.parameters()?.as_oid().ok();
    match key.parsed() {
        // The zero before it says that the first bit is set: the modulus is of whole octets.
        Ok(PublicKey::RSA(rsa)) => match rsa.modulus {
            [0, value @ ..] => (2048 / 8..=8192 / 8).contains(&value.len()),
            [1..=0xff, ..] | [] => false,
        },
        Ok(PublicKey::EC(_)) => curve().is_some_and(|curve| CURVES.contains(&curve)),
        Ok(PublicKey::Unknown(_)) => key.algorithm.algorithm == oid::OID_SIG_ED25519,
        Ok(PublicKey::DSA(_) | PublicKey::GostR3410(_) | PublicKey::GostR3410_2012(_)) => false,
        Err(_) => false,
    }
}

const CURVES: [Oid<'_>; 3] = [
    oid::OID_EC_P256,
    oid::OID_NIST_EC_P384,
    oid::OID_NIST_EC_P521,
];

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nameless => "leaves the name of the CA empty",
            Self::Serial => "has a serial number that is zero, negative or longer than 20 octets",
            Self::PaddedSerial => "has a serial number that is not minimal DER",
            Self::DuplicateExtension => "has one extension twice",
            Self::MappedAddress => "has an IPv4 address that is written as an IPv6 address (::ffff:0:0/96) among its names",
            Self::NoNames => "has a subjectAltName without a name in it",
            Self::UnreadableName => "has a subjectAltName with a name that cannot be read",
            Self::Mask => "has nameConstraints with an IP network whose mask is none",
            Self::PaddedPathLength => "has a path length that is not minimal DER",
            Self::Key => "has a key that is none of P-256, P-384, P-521, Ed25519, RSA of 2048 to 8192 bits in whole octets",
            Self::UnreadableExtension => "has an extension (authorityInfoAccess, authorityKeyIdentifier, keyUsage, nameConstraints, policyConstraints or subjectAltName) that cannot be read",
            Self::HalfIssuer => "has an authorityKeyIdentifier with one of issuer and serial number",
            Self::SignsAsLeaf => "has the key usage keyCertSign and is no CA",
            Self::MayNotSign => "states key usages without keyCertSign, but has issued the certificate below it",
            Self::MayNotSignHandshakes => "states key usages without digitalSignature, which TLS needs",
            Self::ConstrainsAsLeaf => "has nameConstraints and is no CA",
            Self::ConstrainsNothing => "has nameConstraints that constrain nothing",
            Self::PolicyConstraints => "has policyConstraints, which aegis cannot honor",
        })?;
        f.write_str("; it must be issued again")
    }
}

impl error::Error for Flaw {}

#[cfg(test)]
mod tests;
