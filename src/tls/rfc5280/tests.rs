use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
};
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::FromDer as _;

use super::*;

fn found(
    position: Position,
    key: &KeyPair,
    change: impl Fn(&mut CertificateParams),
) -> Option<Violation> {
    let mut params = CertificateParams::default();
    if position != Position::Leaf {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    change(&mut params);
    let certificate = params.self_signed(key).unwrap();
    let (_, certificate) = parse_x509_certificate(certificate.der()).unwrap();
    Violation::of(&certificate, position)
}

fn with(oid: &[u64], content: &[u8]) -> impl Fn(&mut CertificateParams) {
    let extension = CustomExtension::from_oid_content(oid, content.to_vec());
    move |params| params.custom_extensions = vec![extension.clone()]
}

const PLACES: [Position; 3] = [Position::Leaf, Position::Intermediate, Position::Anchor];

#[test]
fn certificates_of_common_tools_have_no_violation() {
    for position in PLACES {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ECDSA_P521_SHA512,
            &PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            // No authority key identifier, and in a leaf none of its own either: rcgen by default.
            assert_eq!(
                found(position, &key, |_| {}),
                None,
                "{position:?} {algorithm:?}"
            );
        }
    }
}

#[test]
fn violations_are_found_at_the_positions_they_concern() {
    use Violation as V;

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
    let nameless: Change = Box::new(|params| params.distinguished_name = DistinguishedName::new());
    let signs: Change = Box::new(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let signs_data: Change =
        Box::new(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let zero: Change = Box::new(|params| params.serial_number = Some(vec![0].into()));
    let extension = |oid, content| -> Change { Box::new(with(oid, content)) };
    let everywhere = |violation| [Some(violation); 3];
    let cases: [(Change, [Option<V>; 3]); 15] = [
        (nameless, everywhere(V::Nameless)),
        (zero, [Some(V::Serial), Some(V::Serial), None]),
        (signs, [Some(V::SignsAsLeaf), None, None]),
        (signs_data, [None, Some(V::MayNotSign), None]),
        (extension(AKI, SERIAL_ALONE), everywhere(V::HalfIssuer)),
        (extension(AKI, ISSUER_ALONE), everywhere(V::HalfIssuer)),
        (extension(AKI, ISSUER_AND_SERIAL), [None; 3]),
        (extension(AKI, &[0x30, 0]), [None; 3]),
        (extension(AKI, b"?"), everywhere(V::UnreadableExtension)),
        (extension(AIA, b"?"), everywhere(V::UnreadableExtension)),
        (extension(&[1, 3, 9], b"?"), [None; 3]),
        // certificatePolicies: known, and of no consequence.
        (extension(&[2, 5, 29, 32], b"?"), [None; 3]),
        (
            extension(NAMES, DNS_A),
            [Some(V::ConstrainsAsLeaf), None, None],
        ),
        (
            extension(NAMES, &[0x30, 0]),
            [
                Some(V::ConstrainsAsLeaf),
                Some(V::ConstrainsNothing),
                Some(V::ConstrainsNothing),
            ],
        ),
        (
            extension(POLICIES, REQUIRES_POLICY),
            [Some(V::PolicyConstraints), Some(V::PolicyConstraints), None],
        ),
    ];
    let key = KeyPair::generate().unwrap();
    for (row, (change, expected)) in cases.iter().enumerate() {
        let found = PLACES.map(|position| found(position, &key, change));
        assert_eq!(found, *expected, "row {row}");
    }
}

#[test]
fn a_leaf_with_key_usages_needs_digital_signature() {
    let key = KeyPair::generate().unwrap();
    for (usage, violation) in [
        (KeyUsagePurpose::DigitalSignature, None),
        (
            KeyUsagePurpose::KeyEncipherment,
            Some(Violation::MayNotSignHandshakes),
        ),
        (KeyUsagePurpose::KeyCertSign, Some(Violation::SignsAsLeaf)),
    ] {
        let found = found(Position::Leaf, &key, |params| {
            params.key_usages = vec![usage]
        });
        assert_eq!(found, violation, "{usage:?}");
    }
}

#[test]
fn malformed_names_are_violations() {
    const ADDRESS: &[u8] = &[0x30, 6, 0x87, 4, 192, 0, 2, 7];
    const SHORT: &[u8] = &[0x30, 5, 0x87, 3, 192, 0, 2];
    const NO_ASCII: &[u8] = &[0x30, 4, 0x82, 2, 0xc3, 0xbc];
    let mapped = [
        &[0x30, 18, 0x87, 16][..],
        &[0; 10],
        &[0xff, 0xff, 192, 0, 2, 7],
    ]
    .concat();
    let everywhere = |violation| [Some(violation); 3];
    let cases = [
        (ADDRESS, [None; 3]),
        (&[0x30, 0], everywhere(Violation::NoNames)),
        (SHORT, everywhere(Violation::UnreadableName)),
        (NO_ASCII, everywhere(Violation::UnreadableName)),
        (b"?", everywhere(Violation::UnreadableExtension)),
        (&mapped, [Some(Violation::MappedAddress), None, None]),
    ];
    let key = KeyPair::generate().unwrap();
    for (content, expected) in cases {
        let found = PLACES.map(|position| found(position, &key, with(&[2, 5, 29, 17], content)));
        assert_eq!(found, expected, "{content:?}");
    }
}

#[test]
fn a_network_with_a_non_contiguous_mask_is_a_violation() {
    let v6 = [&[0x20; 16][..], &[255; 7], &[0xfe], &[0; 8]].concat();
    let cases: [(&[u8], Option<Violation>); 6] = [
        (&[192, 0, 2, 0, 255, 255, 254, 0], None),
        (&[0; 8], None),
        (&v6, None),
        (&[192, 0, 2, 0, 255, 0, 255, 0], Some(Violation::Mask)),
        (&[192, 0, 2, 0, 255, 253, 0, 0], Some(Violation::Mask)),
        (&[192, 0, 2, 0], Some(Violation::Mask)),
    ];
    let key = KeyPair::generate().unwrap();
    for (network, expected) in cases {
        let length = u8::try_from(network.len()).unwrap();
        let tags = [
            0x30,
            length + 6,
            0xa0,
            length + 4,
            0x30,
            length + 2,
            0x87,
            length,
        ];
        let content = [&tags[..], network].concat();
        let found = PLACES.map(|position| found(position, &key, with(&[2, 5, 29, 30], &content)));
        assert_eq!(
            found,
            [Some(Violation::ConstrainsAsLeaf), expected, expected]
        );
    }
}

#[test]
fn a_padded_path_length_is_a_violation() {
    for (length, minimal) in [
        (&[2, 1, 0][..], true),
        (&[2, 1, 127], true),
        (&[2, 2, 0, 128], true),
        (&[2, 2, 1, 0], true),
        (&[2, 2, 0, 0], false),
        (&[2, 2, 0, 1], false),
        (&[2, 3, 0, 1, 0], false),
    ] {
        let tags = [0x30, 3 + u8::try_from(length.len()).unwrap(), 1, 1, 0xff];
        let content = [&tags[..], length].concat();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&[2, 5, 29, 19], content)];
        let certificate = params.self_signed(&key).unwrap();
        let (_, certificate) = parse_x509_certificate(certificate.der()).unwrap();
        let found = Violation::of(&certificate, Position::Anchor);
        let expected = (!minimal).then_some(Violation::PaddedPathLength);
        assert_eq!(found, expected, "{length:?}");
    }
}

#[test]
fn a_padded_serial_number_is_a_violation_at_every_position() {
    const SERIAL: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
    let mut params = CertificateParams::default();
    params.serial_number = Some(SERIAL.to_vec().into());
    let key = KeyPair::generate().unwrap();
    let mut der = params.self_signed(&key).unwrap().der().to_vec();
    let at = der.windows(8).position(|window| window == SERIAL);
    der[at.unwrap()] = 0;
    let (_, certificate) = parse_x509_certificate(&der).unwrap();
    let found = PLACES.map(|position| Violation::of(&certificate, position));
    assert_eq!(found, [Some(Violation::PaddedSerial); 3]);
}

#[test]
fn a_serial_number_that_is_not_positive_or_over_20_octets_is_a_violation() {
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
fn an_integer_with_a_superfluous_leading_octet_is_not_minimal() {
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
fn rsa_keys_outside_2048_to_8192_bits_are_violations() {
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

#[test]
fn a_date_that_is_not_der_is_found() {
    const DATES: &[u8] = b"\x17\x0d750101000000Z\x18\x0f20550102000000Z";
    // The first without seconds, the second with an offset: as long as the dates above.
    const OTHERS: &[u8] = b"\x17\x0b7501010000Z\x17\x11490102000000+0000";
    for (dates, expected) in [(DATES, None), (OTHERS, Some(Violation::Dates))] {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2055, 1, 2);
        let key = KeyPair::generate().unwrap();
        let mut der = params.self_signed(&key).unwrap().der().to_vec();
        let mut parts = der.windows(DATES.len());
        let at = parts.position(|part| part == DATES).unwrap();
        der[at..at + DATES.len()].copy_from_slice(dates);
        let (_, certificate) = parse_x509_certificate(&der).unwrap();
        for position in PLACES {
            assert_eq!(Violation::of(&certificate, position), expected, "{dates:?}");
        }
    }
}
