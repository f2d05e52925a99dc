//! What RFC 5280 forbids in a certificate and the chain check passes over.
//!
//! Asked of a client CA at load and of a scraper's chain in the handshake, after the chain check.
//! What is merely missing is let pass, as key identifiers are; `docs/certificate-cases.md` says why.

use std::error;
use std::fmt;
use std::net::Ipv6Addr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
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
    ConstrainsAsLeaf,
    ConstrainsNothing,
    PolicyConstraints,
    MappedAddress,
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
                Place::Leaf => usage.key_cert_sign().then_some(Self::SignsAsLeaf),
                Place::Intermediate => (!usage.key_cert_sign()).then_some(Self::MayNotSign),
                Place::Anchor => None,
            },
            ParsedExtension::NameConstraints(_) if is_leaf => Some(Self::ConstrainsAsLeaf),
            ParsedExtension::NameConstraints(names) => {
                let is_some =
                    names.permitted_subtrees.is_some() || names.excluded_subtrees.is_some();
                (!is_some).then_some(Self::ConstrainsNothing)
            }
            // The chain check refuses a critical one: nothing here knows of policies.
            ParsedExtension::PolicyConstraints(_) if place != Place::Anchor => {
                Some(Self::PolicyConstraints)
            }
            // Name constraints of IPv4 networks do not include it, but a pattern could.
            ParsedExtension::SubjectAlternativeName(names) if is_leaf => {
                let is_mapped = names.general_names.iter().any(is_mapped_address);
                is_mapped.then_some(Self::MappedAddress)
            }
            ParsedExtension::ParseError { .. } if JUDGED.contains(&extension.oid) => {
                Some(Self::UnreadableExtension)
            }
            _ => None,
        }
    }
}

/// The extensions that must be readable if they are there.
const JUDGED: [Oid<'_>; 5] = [
    oid::OID_PKIX_AUTHORITY_INFO_ACCESS,
    oid::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
    oid::OID_X509_EXT_KEY_USAGE,
    oid::OID_X509_EXT_NAME_CONSTRAINTS,
    oid::OID_X509_EXT_POLICY_CONSTRAINTS,
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

/// Whether a name is an IPv4 address that is written as an IPv6 address.
fn is_mapped_address(name: &GeneralName<'_>) -> bool {
    let GeneralName::IPAddress(octets) = name else {
        return false;
    };
    let address = <[u8; 16]>::try_from(*octets).map(Ipv6Addr::from);
    address.is_ok_and(|address| address.to_ipv4_mapped().is_some())
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
            Self::Key => "has a key that is none of P-256, P-384, P-521, Ed25519, RSA of 2048 to 8192 bits in whole octets",
            Self::UnreadableExtension => "has an extension (authorityInfoAccess, authorityKeyIdentifier, keyUsage, nameConstraints or policyConstraints) that cannot be read",
            Self::HalfIssuer => "has an authorityKeyIdentifier with one of issuer and serial number",
            Self::SignsAsLeaf => "has the key usage keyCertSign and is no CA",
            Self::MayNotSign => "states key usages without keyCertSign, but has issued the certificate below it",
            Self::ConstrainsAsLeaf => "has nameConstraints and is no CA",
            Self::ConstrainsNothing => "has nameConstraints that constrain nothing",
            Self::PolicyConstraints => "has policyConstraints, which aegis cannot honor",
        })?;
        f.write_str("; it must be issued again")
    }
}

impl error::Error for Flaw {}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, IsCa, KeyPair,
        KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    };
    use x509_parser::parse_x509_certificate;
    use x509_parser::prelude::FromDer as _;

    use super::*;

    fn found(place: Place, key: &KeyPair, change: impl Fn(&mut CertificateParams)) -> Option<Flaw> {
        let mut params = CertificateParams::default();
        if place != Place::Leaf {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        change(&mut params);
        let certificate = params.self_signed(key).unwrap();
        let (_, certificate) = parse_x509_certificate(certificate.der()).unwrap();
        Flaw::of(&certificate, place)
    }

    fn with(oid: &[u64], content: &[u8]) -> impl Fn(&mut CertificateParams) {
        let extension = CustomExtension::from_oid_content(oid, content.to_vec());
        move |params| params.custom_extensions = vec![extension.clone()]
    }

    const PLACES: [Place; 3] = [Place::Leaf, Place::Intermediate, Place::Anchor];

    #[test]
    fn what_common_tools_write_has_no_flaw() {
        for place in PLACES {
            for algorithm in [
                &rcgen::PKCS_ECDSA_P256_SHA256,
                &PKCS_ECDSA_P384_SHA384,
                &PKCS_ECDSA_P521_SHA512,
                &PKCS_ED25519,
                &rcgen::PKCS_RSA_SHA256,
            ] {
                let key = KeyPair::generate_for(algorithm).unwrap();
                // No authority key identifier, and in a leaf none of its own either: rcgen by default.
                assert_eq!(found(place, &key, |_| {}), None, "{place:?} {algorithm:?}");
            }
        }
    }

    #[test]
    fn each_flaw_is_found_where_it_is_one() {
        const AKI: &[u64] = &[2, 5, 29, 35];
        const NAMES: &[u64] = &[2, 5, 29, 30];
        const POLICIES: &[u64] = &[2, 5, 29, 36];
        const AIA: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
        const DNS_A: &[u8] = &[0x30, 7, 0xa0, 5, 0x30, 3, 0x82, 1, b'a'];
        const SERIAL_ALONE: &[u8] = &[0x30, 3, 0x82, 1, 7];
        const ISSUER_ALONE: &[u8] = &[0x30, 5, 0xa1, 3, 0x82, 1, b'a'];
        const ISSUER_AND_SERIAL: &[u8] = &[0x30, 8, 0xa1, 3, 0x82, 1, b'a', 0x82, 1, 7];
        const REQUIRES_POLICY: &[u8] = &[0x30, 3, 0x80, 1, 3];
        type Change = Box<dyn Fn(&mut CertificateParams)>;
        let nameless: Change =
            Box::new(|params| params.distinguished_name = DistinguishedName::new());
        let signs: Change =
            Box::new(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
        let signs_data: Change =
            Box::new(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
        let zero: Change = Box::new(|params| params.serial_number = Some(vec![0].into()));
        let extension = |oid, content| -> Change { Box::new(with(oid, content)) };
        let everywhere = |flaw| [Some(flaw); 3];
        let cases: [(Change, [Option<Flaw>; 3]); 15] = [
            (nameless, everywhere(Flaw::Nameless)),
            (zero, [Some(Flaw::Serial), Some(Flaw::Serial), None]),
            (signs, [Some(Flaw::SignsAsLeaf), None, None]),
            (signs_data, [None, Some(Flaw::MayNotSign), None]),
            (extension(AKI, SERIAL_ALONE), everywhere(Flaw::HalfIssuer)),
            (extension(AKI, ISSUER_ALONE), everywhere(Flaw::HalfIssuer)),
            (extension(AKI, ISSUER_AND_SERIAL), [None; 3]),
            (extension(AKI, &[0x30, 0]), [None; 3]),
            (extension(AKI, b"?"), everywhere(Flaw::UnreadableExtension)),
            (extension(AIA, b"?"), everywhere(Flaw::UnreadableExtension)),
            (extension(&[1, 3, 9], b"?"), [None; 3]),
            // certificatePolicies: known, and of no consequence.
            (extension(&[2, 5, 29, 32], b"?"), [None; 3]),
            (
                extension(NAMES, DNS_A),
                [Some(Flaw::ConstrainsAsLeaf), None, None],
            ),
            (
                extension(NAMES, &[0x30, 0]),
                [
                    Some(Flaw::ConstrainsAsLeaf),
                    Some(Flaw::ConstrainsNothing),
                    Some(Flaw::ConstrainsNothing),
                ],
            ),
            (
                extension(POLICIES, REQUIRES_POLICY),
                [
                    Some(Flaw::PolicyConstraints),
                    Some(Flaw::PolicyConstraints),
                    None,
                ],
            ),
        ];
        let key = KeyPair::generate().unwrap();
        for (row, (change, expected)) in cases.iter().enumerate() {
            let found = PLACES.map(|place| found(place, &key, change));
            assert_eq!(found, *expected, "row {row}");
        }
    }

    #[test]
    fn a_serial_number_with_an_octet_too_many_is_a_flaw_of_every_certificate() {
        const SERIAL: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
        let mut params = CertificateParams::default();
        params.serial_number = Some(SERIAL.to_vec().into());
        let key = KeyPair::generate().unwrap();
        let mut der = params.self_signed(&key).unwrap().der().to_vec();
        let at = der.windows(8).position(|window| window == SERIAL);
        der[at.unwrap()] = 0;
        let (_, certificate) = parse_x509_certificate(&der).unwrap();
        let found = PLACES.map(|place| Flaw::of(&certificate, place));
        assert_eq!(found, [Some(Flaw::PaddedSerial); 3]);
    }

    #[test]
    fn serial_numbers_are_positive_and_of_twenty_octets_at_most() {
        let long = [0x7f; 21];
        let with_sign = [&[0][..], &[0xff; 20]].concat();
        let too_long_with_sign = [&[0][..], &[0xff; 21]].concat();
        for (serial, proper) in [
            (&[1][..], true),
            (&[0, 0x80], true),
            (&long[1..], true),
            (&with_sign, true),
            (&[], false),
            (&[0], false),
            (&[0x80], false),
            (&[0xff, 1], false),
            (&long, false),
            (&too_long_with_sign, false),
        ] {
            assert_eq!(is_proper_serial(serial), proper, "{serial:?}");
        }
    }

    #[test]
    fn an_integer_is_minimal_if_no_octet_in_front_can_be_left_out() {
        for (integer, minimal) in [
            (&[0][..], true),
            (&[1], true),
            (&[0, 0x80], true),
            (&[0x80], true),
            (&[0xff, 0x7f], true),
            (&[], false),
            (&[0, 0], false),
            (&[0, 1], false),
            (&[0, 0x7f], false),
            (&[0, 0, 0x80], false),
            (&[0xff, 0x80], false),
        ] {
            assert_eq!(is_minimal(integer), minimal, "{integer:?}");
        }
    }

    #[test]
    fn rsa_keys_are_of_2048_to_8192_bits_in_whole_octets() {
        for (octets, first, usable) in [
            (256, 0xff, true),
            (1024, 0x80, true),
            (255, 0xff, false),
            (256, 0x7f, false),
            (257, 0x0f, false),
            (1025, 0x80, false),
        ] {
            let mut modulus = vec![0xff; octets];
            modulus[0] = first;
            let spki = rsa(&modulus);
            let (_, key) = SubjectPublicKeyInfo::from_der(&spki).unwrap();
            assert_eq!(is_usable(&key), usable, "{octets} {first}");
        }
    }

    fn rsa(modulus: &[u8]) -> Vec<u8> {
        let tlv = |tag, content: &[u8]| {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x82], &length[..], content].concat()
        };
        let sign: &[u8] = if modulus[0] >= 0x80 { &[0] } else { &[] };
        let modulus = tlv(2, &[sign, modulus].concat());
        let key = tlv(0x30, &[&modulus[..], &[2, 1, 3]].concat());
        let algorithm = [0x30, 13, 6, 9, 42, 0x86, 72, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
        tlv(
            0x30,
            &[&algorithm[..], &tlv(3, &[&[0], &key[..]].concat())].concat(),
        )
    }
}
