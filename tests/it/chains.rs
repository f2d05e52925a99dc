//! Stage 2: which chains lead to a client CA, and what is said of those that do not. Each is
//! explained and made a handshake with: both must say the same.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};

use crate::explain::agree;
use crate::harness::{Pki, World};

type Change = Box<dyn Fn(&mut CertificateParams)>;

/// A change of a certificate.
fn change(change: impl Fn(&mut CertificateParams) + 'static) -> Change {
    Box::new(change)
}

fn extension(oid: &[u64], content: &[u8], critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    extension
}

const INTERMEDIATE: &str = "the intermediate certificate (CN=aegis test intermediate)";

// #17
#[test]
fn an_intermediate_must_be_a_ca_that_may_sign_certificates() {
    let world = World::new();
    let day = Duration::from_secs(24 * 3600);
    let cases: Vec<(Change, Option<(&str, &str)>)> = vec![
        (change(|_| {}), None),
        (change(|ca| ca.key_usages = vec![]), None),
        (
            change(|ca| ca.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
            Some(("untrusted", " states key usages without keyCertSign")),
        ),
        (
            change(|ca| ca.key_usages = vec![KeyUsagePurpose::CrlSign]),
            Some(("untrusted", " states key usages without keyCertSign")),
        ),
        (
            change(|ca| ca.is_ca = IsCa::ExplicitNoCa),
            Some((
                "untrusted",
                " is no CA (basicConstraints CA:TRUE is not in it)",
            )),
        ),
        (
            change(|ca| ca.is_ca = IsCa::NoCa),
            Some((
                "untrusted",
                " is no CA (basicConstraints CA:TRUE is not in it)",
            )),
        ),
        (
            change(|ca| ca.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            None,
        ),
        (
            change(|ca| ca.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            Some(("usage", "")),
        ),
        (
            change(|ca| ca.custom_extensions = vec![extension(&[1, 3, 9], &[5, 0], false)]),
            None,
        ),
        (
            change(|ca| ca.custom_extensions = vec![extension(&[1, 3, 9], &[5, 0], true)]),
            Some((
                "untrusted",
                " has the critical extension 1.3.9, which aegis does not know",
            )),
        ),
        (
            change(move |ca| ca.not_after = (SystemTime::now() - day).into()),
            Some(("expired", " expired at ")),
        ),
        (
            change(move |ca| ca.not_before = (SystemTime::now() + day).into()),
            Some(("expired", " is valid only from ")),
        ),
    ];
    for (row, (change, refused)) in cases.into_iter().enumerate() {
        let between = world.pki.intermediate_with(change);
        let certificate = between.client().with_chain([between.ca_der()]);
        let said = agree(&world, &certificate, refused.map(|(reason, _)| reason));
        match refused {
            Some((_, why)) => {
                assert!(said.contains(INTERMEDIATE), "row {row}: {said}");
                assert!(said.contains(why), "row {row}: {said}");
            }
            None => assert!(!said.contains("intermediate"), "row {row}: {said}"),
        }
    }
}

// #17
#[test]
fn no_ca_has_more_cas_below_it_than_its_path_length_permits() {
    let length =
        |length| change(move |ca| ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(length)));
    let any = || change(|_| {});
    let cases: Vec<(Change, Vec<Change>, Option<&str>)> = vec![
        (length(0), vec![], None),
        (
            length(0),
            vec![any()],
            Some("the client CA (CN=root) permits a path length of 0"),
        ),
        (length(1), vec![any()], None),
        (
            length(1),
            vec![any(), any()],
            Some("the client CA (CN=root) permits a path length of 1"),
        ),
        (any(), vec![length(0)], None),
        (
            any(),
            vec![length(0), any()],
            Some("(CN=aegis test intermediate) permits a path length of 0"),
        ),
    ];
    for (row, (root, between, why)) in cases.into_iter().enumerate() {
        let world = World::new();
        let root = Pki::named_with("root", root);
        let other = Pki::named("other");
        std::fs::write(world.path("ca.pem"), other.ca_pem() + &root.ca_pem()).unwrap();
        let (mut issuer, mut above) = (root, Vec::new());
        for (depth, change) in between.into_iter().enumerate() {
            issuer = issuer.intermediate_with(|ca| {
                change(ca);
                // Each of its own name, or one could be taken for the other.
                ca.distinguished_name
                    .push(rcgen::DnType::OrganizationName, depth.to_string());
            });
            above.insert(0, issuer.ca_der());
        }
        let certificate = issuer.client().with_chain(above);
        let said = agree(&world, &certificate, why.map(|_| "untrusted"));
        let why = why
            .unwrap_or_default()
            .replace("intermediate)", "intermediate, O=0)");
        assert!(said.contains(&why), "row {row}: {said}");
    }
}
