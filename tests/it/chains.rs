//! Stage 2: which chains lead to a client CA, and the error for each other chain. Each chain is
//! tested with `aegis explain` and in a handshake: both must have the same result.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};

use crate::config::complains;
use crate::explain::explain_and_scrape;
use crate::harness::aegis::command;
use crate::harness::pki::{ip, uri};
use crate::harness::{Pki, World, allow};

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
fn an_intermediate_that_may_not_sign_certificates_is_refused() {
    let cases: Vec<(Change, Option<(&str, &str)>)> = vec![
        (change(|_| {}), None),
        (change(|ca| ca.key_usages = vec![]), None),
        (
            change(|ca| ca.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
            Some(("untrusted", " has key usages without keyCertSign")),
        ),
        (
            change(|ca| ca.key_usages = vec![KeyUsagePurpose::CrlSign]),
            Some(("untrusted", " has key usages without keyCertSign")),
        ),
        (
            change(|ca| ca.is_ca = IsCa::ExplicitNoCa),
            Some((
                "untrusted",
                " is not a CA (it lacks basicConstraints CA:TRUE)",
            )),
        ),
        (
            change(|ca| ca.is_ca = IsCa::NoCa),
            Some((
                "untrusted",
                " is not a CA (it lacks basicConstraints CA:TRUE)",
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
                " has the critical extension 1.3.9, which aegis does not support",
            )),
        ),
    ];
    of_intermediates(cases);
}

#[test]
fn an_intermediate_outside_its_validity_is_reported() {
    let day = Duration::from_secs(24 * 3600);
    of_intermediates(vec![
        (
            change(move |ca| ca.not_after = (SystemTime::now() - day).into()),
            Some(("expired", " expired at ")),
        ),
        (
            change(move |ca| ca.not_before = (SystemTime::now() + day).into()),
            Some(("expired", " is valid only from ")),
        ),
    ]);
}

/// Tests chains with a changed intermediate.
fn of_intermediates(cases: Vec<(Change, Option<(&str, &str)>)>) {
    let world = World::new();
    for (row, (change, refused)) in cases.into_iter().enumerate() {
        let between = world.pki.intermediate_with(change);
        let certificate = between.client().with_chain([between.ca_der()]);
        let report = explain_and_scrape(&world, &certificate, refused.map(|(reason, _)| reason));
        match refused {
            Some((_, why)) => {
                assert!(report.contains(INTERMEDIATE), "row {row}: {report}");
                assert!(report.contains(why), "row {row}: {report}");
            }
            None => assert!(!report.contains("intermediate"), "row {row}: {report}"),
        }
    }
}

// #17
#[test]
fn a_chain_longer_than_a_path_length_constraint_is_refused() {
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
                // Each has its own name, so that none can replace another.
                ca.distinguished_name
                    .push(rcgen::DnType::OrganizationName, depth.to_string());
            });
            above.insert(0, issuer.ca_der());
        }
        let certificate = issuer.client().with_chain(above);
        let report = explain_and_scrape(&world, &certificate, why.map(|_| "untrusted"));
        let why = why
            .unwrap_or_default()
            .replace("intermediate)", "intermediate, O=0)");
        assert!(report.contains(&why), "row {row}: {report}");
    }
}

/// Name constraints that exclude an IPv4 network.
fn without_network(network: [u8; 4], mask: [u8; 4]) -> Change {
    change(move |ca| {
        ca.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![],
            excluded_subtrees: vec![rcgen::GeneralSubtree::IpAddress(rcgen::CidrSubnet::V4(
                network, mask,
            ))],
        });
    })
}

// #17
#[test]
fn an_ipv4_mapped_address_does_not_evade_name_constraints() {
    let mut world = World::new();
    world.settings.allow = allow(
        r#""127.0.0.1""#,
        r#""ip:192.0.2.7", "ip:198.51.100.7""#,
        r#""*""#,
    );
    let excluded = without_network([192, 0, 2, 0], [255, 255, 255, 0]);
    let between = world.pki.intermediate_with(excluded);
    let named = |names: &[&str]| {
        let names = names.iter().map(|name| ip(name)).collect();
        let client = between.client_with(|params| params.subject_alt_names = names);
        client.with_chain([between.ca_der()])
    };
    explain_and_scrape(&world, &named(&["198.51.100.7"]), None);
    let report = explain_and_scrape(&world, &named(&["192.0.2.7"]), Some("untrusted"));
    let why = format!("the name constraints of {INTERMEDIATE} do not permit a name below it");
    assert!(report.contains(&why), "{report}");
    for names in [
        &["::ffff:192.0.2.7"][..],
        &["::ffff:198.51.100.7"],
        &["198.51.100.7", "::ffff:192.0.2.7"],
    ] {
        let report = explain_and_scrape(&world, &named(names), Some("untrusted"));
        let why = "the certificate has an IPv4-mapped IPv6 address";
        assert!(report.contains(why), "{names:?}: {report}");
    }
}

// #17
#[test]
fn a_duplicate_extension_is_refused() {
    const AUTHORITY_KEY: (&[u64], &[u8]) = (&[2, 5, 29, 35], &[0x30, 3, 0x80, 1, 7]);
    const UNKNOWN: (&[u64], &[u8]) = (&[1, 3, 9], &[5, 0]);
    for (oid, content) in [AUTHORITY_KEY, POLICIES, UNKNOWN] {
        let world = World::new();
        let times = |times| {
            move |params: &mut CertificateParams| {
                params.use_authority_key_identifier_extension = false;
                params.custom_extensions = vec![extension(oid, content, false); times];
            }
        };
        let why = "has a duplicate extension";
        explain_and_scrape(&world, &world.pki.client_with(times(1)), None);
        let report =
            explain_and_scrape(&world, &world.pki.client_with(times(2)), Some("untrusted"));
        assert!(
            report.contains(&format!("the certificate {why}")),
            "{report}"
        );
        for (count, refused) in [(1, None), (2, Some("untrusted"))] {
            let between = world.pki.intermediate_with(times(count));
            let certificate = between.client().with_chain([between.ca_der()]);
            let report = explain_and_scrape(&world, &certificate, refused);
            assert_eq!(
                report.contains(&format!("{INTERMEDIATE} {why}")),
                count == 2,
                "{report}"
            );
        }
        std::fs::write(
            world.path("ca.pem"),
            Pki::named_with("root", times(2)).ca_pem(),
        )
        .unwrap();
        complains(
            &world,
            &[&format!("ca.pem holds a CA (CN=root) that {why}")],
        );
    }
}

const POLICIES: (&[u64], &[u8]) = (&[2, 5, 29, 32], &[0x30, 5, 0x30, 3, 6, 1, 0x2a]);
const PURPOSES: &[u64] = &[2, 5, 29, 37];

/// The extended key usages of one purpose: 1 for servers, 2 for clients.
fn purpose(number: u8) -> [u8; 12] {
    [0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, number]
}

// #17
#[test]
fn a_client_ca_with_critical_policies_and_purposes_is_accepted() {
    let (policies, content) = POLICIES;
    let cases = [
        (policies, content.to_vec(), None),
        (PURPOSES, purpose(2).to_vec(), None),
        (
            PURPOSES,
            purpose(1).to_vec(),
            Some("whose extended key usages lack clientAuth"),
        ),
        (
            &[2, 5, 29, 36],
            vec![0x30, 3, 0x80, 1, 0],
            Some("with the critical extension 2.5.29.36, which aegis does not support"),
        ),
    ];
    for (oid, content, refused) in cases {
        let world = World::new();
        let root = Pki::named_with("root", |ca| {
            ca.custom_extensions = vec![extension(oid, &content, true)];
        });
        std::fs::write(world.path("ca.pem"), root.ca_pem()).unwrap();
        match refused {
            None => drop(explain_and_scrape(&world, &root.client(), None)),
            Some(why) => complains(&world, &["ca.pem holds a CA (CN=root) ", why]),
        }
    }
    // The chain check does not implement policies, and refuses unknown critical extensions.
    let world = World::new();
    let between = world.pki.intermediate_with(|ca| {
        ca.custom_extensions = vec![extension(POLICIES.0, POLICIES.1, true)];
    });
    let certificate = between.client().with_chain([between.ca_der()]);
    let report = explain_and_scrape(&world, &certificate, Some("untrusted"));
    let why = format!("{INTERMEDIATE} has the critical extension 2.5.29.32");
    assert!(report.contains(&why), "{report}");
}

// #17
#[test]
fn unsupported_name_constraints_are_a_warning() {
    let mut directory = rcgen::DistinguishedName::new();
    directory.push(rcgen::DnType::CommonName, "leaf");
    let email = rcgen::GeneralSubtree::Rfc822Name("e.org".to_owned());
    let directory = rcgen::GeneralSubtree::DirectoryName(directory);
    let dns = rcgen::GeneralSubtree::DnsName("example.org".to_owned());
    for (subtree, warning, refused) in [
        (dns, None, None),
        (email, Some("that has an email address"), None),
        (directory, Some("that has a subject"), Some("untrusted")),
    ] {
        let world = World::new();
        let root = Pki::named_with("root", |ca| {
            ca.name_constraints = Some(rcgen::NameConstraints {
                permitted_subtrees: vec![subtree],
                excluded_subtrees: vec![],
            });
        });
        std::fs::write(world.path("ca.pem"), root.ca_pem()).unwrap();
        warns_of_constraints(&world, warning);
        let report = explain_and_scrape(&world, &root.client(), refused);
        let why = "the name constraints of the client CA (CN=root) do not permit a name";
        assert_eq!(report.contains(why), refused.is_some(), "{report}");
    }
    // Permitted: URIs of e.org.
    let uris = b"\x30\x0b\xa0\x09\x30\x07\x86\x05e.org";
    let mut world = World::new();
    world.settings.allow = allow(r#""127.0.0.1""#, r#""spiffe://e.org/*""#, r#""*""#);
    let root = Pki::named_with("root", |ca| {
        ca.custom_extensions = vec![extension(&[2, 5, 29, 30], uris, true)];
    });
    std::fs::write(world.path("ca.pem"), root.ca_pem()).unwrap();
    warns_of_constraints(&world, Some("that has a URI (as SPIFFE IDs are)"));
    let spiffe = root.client_with(|leaf| leaf.subject_alt_names = vec![uri("spiffe://e.org/p")]);
    let report = explain_and_scrape(&world, &spiffe, Some("untrusted"));
    assert!(report.contains("aegis permits none of them"), "{report}");
}

#[track_caller]
fn warns_of_constraints(world: &World, expected: Option<&str>) {
    let mut check = command();
    check.args(["check", "--config"]).arg(world.write_config());
    let stdout = String::from_utf8(check.output().unwrap().stdout).unwrap();
    let warning = "warning: the client CA (CN=root) constrains names of a kind";
    assert_eq!(stdout.contains(warning), expected.is_some(), "{stdout}");
    assert!(stdout.contains(expected.unwrap_or_default()), "{stdout}");
}

#[test]
fn a_violation_is_reported_with_its_certificate() {
    let cases: Vec<(Change, &str)> = vec![
        (
            change(|ca| ca.not_before = rcgen::date_time_ymd(2090, 1, 1)),
            " expires before it becomes valid; issue it again",
        ),
        (
            change(|ca| ca.custom_extensions = vec![extension(PURPOSES, &[0x30, 0], false)]),
            " has empty extended key usages; issue it again",
        ),
        (
            change(|ca| ca.custom_extensions = vec![extension(&[2, 5, 29, 30], b"\x31\0", true)]),
            " has a malformed extension (",
        ),
    ];
    let world = World::new();
    for (change, why) in cases {
        let between = world.pki.intermediate_with(|ca| {
            ca.not_after = rcgen::date_time_ymd(2080, 1, 1);
            change(ca);
        });
        let certificate = between.client().with_chain([between.ca_der()]);
        let report = explain_and_scrape(&world, &certificate, Some("untrusted"));
        assert!(report.contains(&format!("{INTERMEDIATE}{why}")), "{report}");
    }
    // A CA with the name of the issuer and another key.
    let (own, namesake) = (world.pki.intermediate(), world.pki.intermediate());
    let certificate = namesake.client().with_chain([own.ca_der()]);
    let report = explain_and_scrape(&world, &certificate, Some("untrusted"));
    let why = "the certificate names CN=aegis test intermediate as its issuer, but is not signed with the key of that CA";
    assert!(report.contains(why), "{report}");
    let report = explain_and_scrape(&world, &namesake.client(), Some("untrusted"));
    let why = "the certificate does not chain to a client CA: its issuer (CN=aegis test intermediate) is not one";
    assert!(report.contains(why), "{report}");
}
