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
fn a_crl_of_a_client_ca_that_may_not_sign_it_is_refused() {
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
    assert!(problem.contains("leave out cRLSign"), "{problem}");
    let warning = read(&crl, &[others]).unwrap().unwrap();
    assert!(
        warning.contains("none of the client CAs of that name has signed"),
        "{warning}"
    );
}

#[test]
fn a_crl_of_other_dates_than_now_is_refused() {
    let at = |text: &str| ASN1Time::from_timestamp(text.parse().unwrap()).unwrap();
    let list = list().signed_by(&ca(Vec::new())).unwrap();
    let before = Crl::read(list.der(), at("1767225599")).unwrap_err();
    let why = "is valid only from Jan  1 00:00:00 2026 +00:00 (thisUpdate); set the clock, or wait";
    assert!(before.contains(why), "{before}");
    for now in ["1767225600", "4070908801"] {
        assert!(Crl::read(list.der(), at(now)).is_ok(), "{now}");
    }
    let end = b"20990101000000Z";
    let mut der = list.der().to_vec();
    let place = der.windows(end.len()).position(|at| at == end).unwrap();
    der[place..][..end.len()].copy_from_slice(b"20251231235959Z");
    let problem = Crl::read(&der, at("1767225600")).unwrap_err();
    assert!(problem.contains("that ends before it begins"), "{problem}");
}

#[test]
fn a_serial_number_that_is_not_minimal_is_refused() {
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
    let place = der.windows(8).position(|at| at == SERIAL).unwrap();
    der[place] = 0;
    let problem = Crl::read(&der, ASN1Time::now()).unwrap_err();
    assert!(problem.contains("not minimal DER"), "{problem}");
}

#[test]
fn each_cause_that_a_crl_cannot_be_used_is_named() {
    let list = list().signed_by(&ca(Vec::new())).unwrap();
    // The CRL number becomes another extension, or a critical one.
    let number = |oid: u8, critical: bool| {
        let before: &[u8] = &[0x30, 10, 0x06, 3, 0x55, 0x1d, 20, 0x04, 3, 2, 1, 1];
        let after: &[u8] = match critical {
            true => &[0x30, 10, 0x06, 3, 0x55, 0x1d, oid, 1, 1, 0xff, 4, 0],
            false => &[0x30, 10, 0x06, 3, 0x55, 0x1d, oid, 0x04, 3, 2, 1, 1],
        };
        let mut der = list.der().to_vec();
        let place = der.windows(before.len()).position(|at| at == before);
        der[place.unwrap()..][..after.len()].copy_from_slice(after);
        Crl::read(&der, ASN1Time::now())
    };
    assert!(number(20, false).is_ok());
    for (oid, critical, why) in [
        (27, false, "is a delta CRL"),
        (35, false, "has one extension twice"),
        (28, false, "has no CRL number"),
        (20, true, "has a critical CRL number"),
        (99, true, "has no CRL number"),
    ] {
        let problem = number(oid, critical).unwrap_err();
        assert!(problem.contains(why), "{oid} {critical}: {problem}");
    }
}
