use rustls::pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;

use super::super::read_crl;
use super::*;

fn ca(key_usages: Vec<rcgen::KeyUsagePurpose>) -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertifiedIssuer::self_signed(params(key_usages), key).unwrap()
}

fn params(key_usages: Vec<rcgen::KeyUsagePurpose>) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = key_usages;
    params
}

fn list() -> rcgen::CertificateRevocationListParams {
    rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2099, 1, 1),
        crl_number: vec![1].into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    }
}

#[test]
fn a_crl_without_a_number_is_refused() {
    const NUMBER: &[u8] = &[0x06, 3, 0x55, 0x1d, 20];
    let list = list().signed_by(&ca(Vec::new())).unwrap();
    let mut der = list.der().to_vec();
    assert!(Crl::read(&der, ASN1Time::now()).is_ok());
    let number = der
        .windows(NUMBER.len())
        .position(|at| at == NUMBER)
        .unwrap();
    // Now it is an unknown extension.
    der[number + NUMBER.len() - 1] = 99;
    let problem = Crl::read(&der, ASN1Time::now()).err().unwrap();
    assert!(problem.contains("has no CRL number"), "{problem}");
}

#[test]
fn a_failed_signature_check_is_cached() {
    let (signer, other) = (ca(Vec::new()), ca(Vec::new()));
    let der = list().signed_by(&signer).unwrap().der().to_vec();
    let crl = Crl::read(&der, ASN1Time::now()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let algorithms = provider.signature_verification_algorithms.all;
    let key = |ca: &rcgen::CertifiedIssuer<'_, rcgen::KeyPair>| {
        let der = ca.der().to_vec();
        let (_, certificate) = parse_x509_certificate(&der).unwrap();
        certificate.public_key().raw.to_vec()
    };
    for _ in 0..2 {
        assert!(!crl.is_signed_by(&key(&other), algorithms));
        assert!(crl.is_signed_by(&key(&signer), algorithms));
    }
    let verified_keys = crl.verified_keys.lock();
    let verdicts: Vec<bool> = verified_keys
        .iter()
        .map(|(_, is_signed)| *is_signed)
        .collect();
    assert_eq!(verdicts, [false, true]);
}

#[test]
fn a_crl_of_a_client_ca_without_crl_sign_is_refused() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = |key_usages| {
        let params = params(key_usages);
        params.self_signed(&key).unwrap().der().clone()
    };
    let [none, signs, signs_certificates] = [
        vec![],
        vec![rcgen::KeyUsagePurpose::CrlSign],
        vec![rcgen::KeyUsagePurpose::KeyCertSign],
    ]
    .map(certificate);
    // Of one name, with a key of its own.
    let other = ca(vec![rcgen::KeyUsagePurpose::CrlSign]);
    let read = |crl: &rcgen::CertificateRevocationList, cas: &[&CertificateDer<'_>]| {
        let cas = cas.iter().map(|ca| parse_x509_certificate(ca).unwrap().1);
        read_crl(crl.der(), &Vec::from_iter(cas), ASN1Time::now()).map(|(_, warning)| warning)
    };
    let issuer = rcgen::Issuer::new(params(vec![]), &key);
    let crl = list().signed_by(&issuer).unwrap();
    let others = other.as_ref().der();
    for cas in [
        &[][..],
        &[&none],
        &[&signs_certificates, &signs],
        &[others, &none],
    ] {
        assert_eq!(read(&crl, cas), Ok(None));
    }
    let problem = read(&crl, &[&signs_certificates]).unwrap_err();
    assert!(problem.contains("lack cRLSign"), "{problem}");
    let warning = read(&crl, &[others]).unwrap().unwrap();
    assert!(
        warning.contains("no client CA of that name signed"),
        "{warning}"
    );
}

#[test]
fn a_crl_from_the_future_is_refused() {
    let at = |text: &str| ASN1Time::from_timestamp(text.parse().unwrap()).unwrap();
    let list = list().signed_by(&ca(Vec::new())).unwrap();
    let before = Crl::read(list.der(), at("1767225599")).unwrap_err();
    let why = "is valid only from 2026-01-01T00:00:00Z (thisUpdate); set the clock, or wait";
    assert!(before.contains(why), "{before}");
    for now in ["1767225600", "4070908801"] {
        assert!(Crl::read(list.der(), at(now)).is_ok(), "{now}");
    }
    let end = b"20990101000000Z";
    let mut der = list.der().to_vec();
    let position = der.windows(end.len()).position(|at| at == end).unwrap();
    der[position..][..end.len()].copy_from_slice(b"20251231235959Z");
    let problem = Crl::read(&der, at("1767225600")).unwrap_err();
    assert!(
        problem.contains("that expires before it becomes valid"),
        "{problem}"
    );
}

#[test]
fn a_crl_with_a_padded_serial_number_is_refused() {
    const SERIAL: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
    let mut list = list();
    list.revoked_certs = vec![rcgen::RevokedCertParams {
        serial_number: SERIAL.to_vec().into(),
        revocation_time: list.this_update,
        reason_code: None,
        invalidity_date: None,
    }];
    let list = list.signed_by(&ca(Vec::new())).unwrap();
    let mut der = list.der().to_vec();
    assert!(Crl::read(&der, ASN1Time::now()).is_ok());
    let position = der.windows(8).position(|at| at == SERIAL).unwrap();
    der[position] = 0;
    let problem = Crl::read(&der, ASN1Time::now()).unwrap_err();
    assert!(problem.contains("not minimal DER"), "{problem}");
}

#[test]
fn an_unusable_crl_is_reported_with_its_cause() {
    let list = list().signed_by(&ca(Vec::new())).unwrap();
    // The CRL number becomes another extension, or a critical one.
    let number = |oid: u8, critical: bool| {
        let before: &[u8] = &[0x30, 10, 0x06, 3, 0x55, 0x1d, 20, 0x04, 3, 2, 1, 1];
        let after: &[u8] = match critical {
            true => &[0x30, 10, 0x06, 3, 0x55, 0x1d, oid, 1, 1, 0xff, 4, 0],
            false => &[0x30, 10, 0x06, 3, 0x55, 0x1d, oid, 0x04, 3, 2, 1, 1],
        };
        let mut der = list.der().to_vec();
        let position = der.windows(before.len()).position(|at| at == before);
        der[position.unwrap()..][..after.len()].copy_from_slice(after);
        Crl::read(&der, ASN1Time::now())
    };
    assert!(number(20, false).is_ok());
    for (oid, critical, why) in [
        (27, false, "is a delta CRL"),
        (35, false, "has a duplicate extension"),
        (28, false, "has no CRL number"),
        (20, true, "has a critical CRL number"),
        (99, true, "has no CRL number"),
    ] {
        let problem = number(oid, critical).unwrap_err();
        assert!(problem.contains(why), "{oid} {critical}: {problem}");
    }
}

/// A CRL of these extensions, and of one entry with those, each a SEQUENCE in DER.
fn crl_with(extensions: &[&[u8]], of_entry: &[&[u8]]) -> Vec<u8> {
    let good = list().signed_by(&ca(Vec::new())).unwrap();
    let (_, good) = x509_parser::parse_x509_crl(good.der()).unwrap();
    // ecdsa-with-SHA256, as rcgen signs.
    let algorithm = der(0x30, &[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
    let time = |year: &str| der(0x18, &[year.as_bytes(), b"0101000000Z"]);
    let of_entry = match of_entry {
        [] => Vec::new(),
        extensions => der(0x30, extensions),
    };
    let entry = der(0x30, &[&[2, 1, 7], &time("2026"), &of_entry]);
    let list = der(
        0x30,
        &[
            &[2, 1, 1],
            &algorithm,
            good.issuer().as_raw(),
            &time("2026"),
            &time("2099"),
            &der(0x30, &[&entry]),
            &der(0xa0, &[&der(0x30, extensions)]),
        ],
    );
    der(0x30, &[&list, &algorithm, &[3, 2, 0, 0]])
}

fn der(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let length = u8::try_from(contents.len()).unwrap();
    let header = match length {
        0..0x80 => vec![tag, length],
        _ => vec![tag, 0x81, length],
    };
    [header, contents].concat()
}

/// An extension below 2.5.29.
fn extension(last: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    der(
        0x30,
        &[&[6, 3, 0x55, 0x1d, last], critical, &der(4, &[value])],
    )
}

#[track_caller]
fn assert_read(extensions: &[&[u8]], of_entry: &[&[u8]], expected: &str) {
    let crl = Crl::read(&crl_with(extensions, of_entry), ASN1Time::now());
    let problem = crl.err().unwrap_or_default();
    let expected = match expected {
        "" => return assert_eq!(problem, ""),
        expected => format!(" that {expected}"),
    };
    assert!(
        problem.contains(&expected),
        "no {expected:?} in {problem:?}"
    );
}

// #18
#[test]
fn an_unsupported_crl_is_reported_with_its_remedy() {
    const NUMBER: &str = "has no CRL number; set crlnumber and crl_extensions in openssl.cnf (of EasyRSA: openssl-easyrsa.cnf), and issue it again";
    const NEGATIVE: &str =
        "has a CRL number that is negative or longer than 20 octets; correct the crlnumber file";
    const DELTA: &str = "is a delta CRL, which aegis does not support; use the complete CRL";
    const INDIRECT: &str =
        "is an indirect CRL, for certificates of other issuers; use the CRL of each issuer";
    const REASONS: &str = "is for some revocation reasons only; use the CRL for all reasons";
    const UNKNOWN: &str = "has the critical extension 2.5.29.99, which aegis does not support; issue it again without";
    let number = extension(20, false, &[2, 1, 1]);
    let point = |parts: &[u8]| extension(28, true, &der(0x30, &[parts]));
    let uri = der(0xa0, &[&der(0xa0, &[&der(0x86, &[b"http://e.org/crl"])])]);
    let with_uri = |parts: &[u8]| point(&[&uri, parts].concat());
    let (harmless, critical) = (extension(99, false, &[5, 0]), extension(99, true, &[5, 0]));
    assert_read(&[&number], &[], "");
    for (more, expected) in [
        (with_uri(&[]), ""),
        (harmless.clone(), ""),
        (extension(27, true, &[2, 1, 1]), DELTA),
        (with_uri(&[0x84, 1, 0xff]), INDIRECT),
        (with_uri(&[0x83, 2, 1, 6]), REASONS),
        (point(&[]), WITHOUT_URI),
        (point(&[0x81, 1, 0xff]), WITHOUT_URI),
        (critical, UNKNOWN),
    ] {
        assert_read(&[&number, &more], &[], expected);
    }
    assert_read(&[&harmless], &[], NUMBER);
    assert_read(&[&extension(20, false, &[2, 1, 0xff])], &[], NEGATIVE);
}

// #18
#[test]
fn an_unsupported_crl_entry_is_reported_with_its_remedy() {
    const UNKNOWN: &str = "has an entry with a critical extension, which aegis does not support; issue it again without";
    const REASON: &str = "has an entry with an unknown revocation reason; issue it again";
    let number = extension(20, false, &[2, 1, 1]);
    for (of_entry, expected) in [
        (extension(21, false, &[10, 1, 1]), ""),
        (extension(99, true, &[5, 0]), UNKNOWN),
        (extension(21, false, &[10, 1, 7]), REASON),
        (extension(29, true, &der(0x30, &[])), "is an indirect CRL"),
    ] {
        assert_read(&[&number], &[&of_entry], expected);
    }
}
