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
    // Now it is some extension that nobody knows.
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
