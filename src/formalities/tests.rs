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
    let nameless: Change = Box::new(|params| params.distinguished_name = DistinguishedName::new());
    let signs: Change = Box::new(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
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
fn a_leaf_that_states_key_usages_signs_with_its_key() {
    let key = KeyPair::generate().unwrap();
    for (usage, flaw) in [
        (KeyUsagePurpose::DigitalSignature, None),
        (
            KeyUsagePurpose::KeyEncipherment,
            Some(Flaw::MayNotSignHandshakes),
        ),
        (KeyUsagePurpose::KeyCertSign, Some(Flaw::SignsAsLeaf)),
    ] {
        let found = found(Place::Leaf, &key, |params| params.key_usages = vec![usage]);
        assert_eq!(found, flaw, "{usage:?}");
    }
}

#[test]
fn names_that_cannot_be_read_are_flaws() {
    const ADDRESS: &[u8] = &[0x30, 6, 0x87, 4, 192, 0, 2, 7];
    const SHORT: &[u8] = &[0x30, 5, 0x87, 3, 192, 0, 2];
    const NO_ASCII: &[u8] = &[0x30, 4, 0x82, 2, 0xc3, 0xbc];
    let mapped = [
        &[0x30, 18, 0x87, 16][..],
        &[0; 10],
        &[0xff, 0xff, 192, 0, 2, 7],
    ]
    .concat();
    let everywhere = |flaw| [Some(flaw); 3];
    let cases = [
        (ADDRESS, [None; 3]),
        (&[0x30, 0], everywhere(Flaw::NoNames)),
        (SHORT, everywhere(Flaw::UnreadableName)),
        (NO_ASCII, everywhere(Flaw::UnreadableName)),
        (b"?", everywhere(Flaw::UnreadableExtension)),
        (&mapped, [Some(Flaw::MappedAddress), None, None]),
    ];
    let key = KeyPair::generate().unwrap();
    for (content, expected) in cases {
        let found = PLACES.map(|place| found(place, &key, with(&[2, 5, 29, 17], content)));
        assert_eq!(found, expected, "{content:?}");
    }
}

#[test]
fn networks_have_a_mask_of_leading_ones() {
    let v6 = [&[0x20; 16][..], &[255; 7], &[0xfe], &[0; 8]].concat();
    let cases: [(&[u8], Option<Flaw>); 6] = [
        (&[192, 0, 2, 0, 255, 255, 254, 0], None),
        (&[0; 8], None),
        (&v6, None),
        (&[192, 0, 2, 0, 255, 0, 255, 0], Some(Flaw::Mask)),
        (&[192, 0, 2, 0, 255, 253, 0, 0], Some(Flaw::Mask)),
        (&[192, 0, 2, 0], Some(Flaw::Mask)),
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
        let found = PLACES.map(|place| found(place, &key, with(&[2, 5, 29, 30], &content)));
        assert_eq!(found, [Some(Flaw::ConstrainsAsLeaf), expected, expected]);
    }
}

#[test]
fn a_path_length_with_an_octet_too_many_is_a_flaw() {
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
        let found = Flaw::of(&certificate, Place::Anchor);
        let expected = (!minimal).then_some(Flaw::PaddedPathLength);
        assert_eq!(found, expected, "{length:?}");
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
