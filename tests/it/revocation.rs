//! Stage 2 with CRLs: revoked certificates are refused, and a missing CRL admits no certificate.

use std::time::Duration;

use rcgen::{CrlScope, KeyUsagePurpose};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;

use crate::explain::explain_and_scrape;
use crate::handshake::fixture;
use crate::harness::aegis::command;
use crate::harness::{Certified, Pki, World, admin_socket, answer};
use crate::lifecycle::scrape_until_closed;

#[test]
fn a_revoked_certificate_is_refused_and_others_of_the_same_ca_are_not() {
    let mut world = World::new();
    let (good, bad) = (world.pki.client(), world.pki.client());
    let day = Duration::from_secs(24 * 3600);
    let pem = world.pki.crl_revoking(&bad, day);
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap();
    std::fs::write(world.path("crl.pem"), &pem).unwrap();
    std::fs::write(world.path("crl.der"), &der).unwrap();
    for file in ["crl.pem", "crl.der"] {
        world.settings.tls = format!("client_crl_files = [\"{file}\"]");
        let service = world.service("node", answer("up 1\n"));
        let aegis = world.start();
        assert!(world.scraper(&aegis, Some(&bad)).try_get("/node").is_err());
        aegis.logged_refusal("handshake", "revoked");
        assert_eq!(service.connections(), 0, "{file}");
        assert_eq!(world.scraper(&aegis, Some(&good)).get("/node").status, 200);
    }
}

#[test]
fn an_expired_crl_rejects_every_certificate_of_its_ca() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let (good, bad) = (world.pki.client(), world.pki.client());
    let crl = world.pki.crl_revoking(&bad, Duration::from_secs(60));
    std::fs::write(world.path("crl.pem"), crl).unwrap();
    let fixture = fixture(world);
    fixture.assert_refused(Some(&good), "revoked");
}

#[test]
fn an_expiring_crl_ends_open_connections_of_its_ca() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let _service = world.service("node", answer("up 1\n"));
    let (good, bad) = (world.pki.client(), world.pki.client());
    let soon = Duration::from_secs(3600 + 8);
    std::fs::write(world.path("crl.pem"), world.pki.crl_revoking(&bad, soon)).unwrap();
    let aegis = world.start();
    let mut connection = world.scraper(&aegis, Some(&good)).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().status, 200);
    scrape_until_closed(&mut connection);
    aegis.logged_refusal("handshake", "revoked");
}

#[test]
fn an_expired_crl_is_used_only_with_the_unsafe_setting() {
    let mut world = World::new();
    world.settings.tls =
        "client_crl_files = [\"crl.pem\"]\nunsafe_accept_expired_crls = true".to_owned();
    let (good, bad) = (world.pki.client(), world.pki.client());
    let crl = world.pki.crl_revoking(&bad, Duration::from_secs(60));
    std::fs::write(world.path("crl.pem"), crl).unwrap();
    let fixture = fixture(world);
    fixture.aegis.logged(&[
        "WARN",
        "tls.unsafe_accept_expired_crls: certificates revoked after",
    ]);
    fixture.assert_refused(Some(&bad), "revoked");
    fixture.assert_admitted(&good);
}

#[test]
fn without_a_current_crl_aegis_is_not_ready_and_check_reports_it() {
    let days = Duration::from_secs(3 * 24 * 3600);
    for (of_the_client_ca, left, warning, ready) in [
        (true, days, None, true),
        (true, Duration::from_secs(60), Some("the CRL of CN="), false),
        (
            false,
            days,
            Some("there is no CRL of the client CA (CN="),
            false,
        ),
    ] {
        let mut world = World::new();
        world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
        world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
        let below = world.pki.intermediate();
        let issuer = if of_the_client_ca { &world.pki } else { &below };
        let crl = issuer.crl_revoking(&issuer.client(), left);
        std::fs::write(world.path("crl.pem"), crl).unwrap();
        let mut check = command();
        check.args(["check", "--config"]).arg(world.write_config());
        let stdout = String::from_utf8(check.output().unwrap().stdout).unwrap();
        match warning {
            Some(warning) => assert!(stdout.contains(warning), "{stdout}"),
            None => assert!(!stdout.contains("CRL"), "{stdout}"),
        }
        let aegis = world.start();
        let answer = admin_socket::request(&world.path("admin.sock"), "GET", "/-/ready", "");
        match ready {
            true => assert_eq!(answer.text(), "ready\n"),
            false => assert_eq!(answer.text(), "not ready: no client CA has a current CRL\n"),
        }
        let got = world
            .scraper(&aegis, Some(&world.pki.client()))
            .try_get("/node");
        assert_eq!(got.is_ok(), ready);
    }
}

// #17
#[test]
fn a_certificate_on_any_crl_of_its_issuer_is_refused() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["one.pem", "other.pem"]"#.to_owned();
    let (good, in_one, in_other) = (
        world.pki.client(),
        world.pki.client(),
        world.pki.client_with(|params| {
            params.crl_distribution_points = vec![point("http://e.org/one")];
        }),
    );
    let parts = [
        (None, None),
        (Some("one"), Some("other")),
        (Some("one"), None),
    ];
    for parts in parts {
        let crl = |file, part: Option<&str>, revoked| {
            let crl = world.pki.crl_with([revoked], |params| {
                params.issuing_distribution_point = part.and_then(issuing_point);
            });
            std::fs::write(world.path(file), crl).unwrap();
        };
        crl("one.pem", parts.0, &in_one);
        crl("other.pem", parts.1, &in_other);
        for revoked in [&in_one, &in_other] {
            let report = explain_and_scrape(&world, revoked, Some("revoked"));
            let why = "a CRL of CN=aegis test CA lists the certificate";
            assert!(report.contains(why), "{parts:?}: {report}");
        }
        explain_and_scrape(&world, &good, None);
    }
}

#[test]
fn every_partition_of_a_crl_must_be_current() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["one.pem", "other.pem"]"#.to_owned();
    let pki = Pki::new();
    std::fs::write(world.path("ca.pem"), pki.ca_pem()).unwrap();
    let part = |part: &str, expired: bool| {
        let ago = std::time::SystemTime::now() - Duration::from_secs(60);
        pki.crl_with([], |params| {
            params.issuing_distribution_point = issuing_point(part);
            if expired {
                params.next_update = ago.into();
            }
        })
    };
    let of = |part: &str| {
        let points = vec![point(&format!("http://e.org/{part}"))];
        pki.client_with(|params| params.crl_distribution_points = points)
    };
    std::fs::write(world.path("one.pem"), part("one", false)).unwrap();
    // The expired CRL has a successor.
    let both = part("other", true) + &part("other", false);
    std::fs::write(world.path("other.pem"), both).unwrap();
    explain_and_scrape(&world, &of("one"), None);
    explain_and_scrape(&world, &of("other"), None);
    explain_and_scrape(&world, &pki.client(), None);
    let report = explain_and_scrape(&world, &of("elsewhere"), Some("revoked"));
    let why = "no CRL signed by CN=aegis test CA covers the certificate";
    assert!(report.contains(why), "{report}");

    std::fs::write(world.path("other.pem"), part("other", true)).unwrap();
    explain_and_scrape(&world, &of("one"), None);
    for certificate in [of("other"), pki.client()] {
        let report = explain_and_scrape(&world, &certificate, Some("revoked"));
        let why = "which covers the certificate, expired at ";
        assert!(report.contains(why), "{report}");
    }
}

// #17
#[test]
fn a_rekeyed_ca_may_have_a_crl_for_each_key() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["old.pem", "new.pem"]"#.to_owned();
    let (old, new) = (Pki::new(), Pki::new());
    std::fs::write(world.path("ca.pem"), old.ca_pem() + &new.ca_pem()).unwrap();
    let crl = |pki: &Pki, file: &str, revoked: &Certified| {
        std::fs::write(world.path(file), pki.crl_with([revoked], |_| {})).unwrap();
    };
    let (revoked, revoked_by_new) = (old.client(), new.client());
    crl(&old, "old.pem", &revoked);
    crl(&new, "new.pem", &revoked_by_new);
    for revoked in [&revoked, &revoked_by_new] {
        explain_and_scrape(&world, revoked, Some("revoked"));
    }
    for good in [old.client(), new.client()] {
        explain_and_scrape(&world, &good, None);
    }
    // Without a CRL signed by this key, the certificates of this key are refused.
    crl(&old, "new.pem", &revoked);
    explain_and_scrape(&world, &old.client(), None);
    let output = explain_and_scrape(&world, &new.client(), Some("revoked"));
    let why = "no CRL signed by CN=aegis test CA covers the certificate";
    assert!(output.contains(why), "{output}");
    let mut check = command();
    check.args(["check", "--config"]).arg(world.write_config());
    let output = String::from_utf8(check.output().unwrap().stdout).unwrap();
    let warning = "there is no CRL of the client CA (CN=aegis test CA)";
    assert!(output.contains(warning), "{output}");
}

#[test]
fn crls_of_intermediates_with_one_name_are_told_apart_by_key() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["root.pem", "one.pem", "other.pem"]"#.to_owned();
    let (one, other) = (world.pki.intermediate(), world.pki.intermediate());
    let client = |pki: &Pki| pki.client().with_chain([pki.ca_der()]);
    let (revoked, revoked_by_other) = (client(&one), client(&other));
    std::fs::write(world.path("root.pem"), world.pki.crl_with([], |_| {})).unwrap();
    let crl = |pki: &Pki, file: &str, revoked: &Certified| {
        std::fs::write(world.path(file), pki.crl_with([revoked], |_| {})).unwrap();
    };
    crl(&one, "one.pem", &revoked);
    crl(&other, "other.pem", &revoked_by_other);
    for (pki, revoked) in [(&one, &revoked), (&other, &revoked_by_other)] {
        let report = explain_and_scrape(&world, revoked, Some("revoked"));
        let why = "a CRL of CN=aegis test intermediate lists the certificate";
        assert!(report.contains(why), "{report}");
        explain_and_scrape(&world, &client(pki), None);
    }
    // The intermediate itself is revoked, or its CRL is missing.
    let whole = world.pki.crl_with([&one.certified()], |_| {});
    std::fs::write(world.path("root.pem"), whole).unwrap();
    let report = explain_and_scrape(&world, &client(&one), Some("revoked"));
    let why = "lists the intermediate certificate (CN=aegis test intermediate)";
    assert!(report.contains(why), "{report}");
    explain_and_scrape(&world, &client(&other), None);
    crl(&one, "other.pem", &revoked);
    explain_and_scrape(&world, &client(&other), Some("revoked"));
}

#[test]
fn a_crl_scoped_to_ca_or_user_certificates_covers_no_others() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let part = |pki: &Pki, scope| {
        pki.crl_with([], |params| {
            let mut point = issuing_point("all").unwrap();
            point.scope = Some(scope);
            params.issuing_distribution_point = Some(point);
        })
    };
    let between = world.pki.intermediate();
    let (direct, below) = (
        world.pki.client(),
        between.client().with_chain([between.ca_der()]),
    );
    let of_leaves = part(&world.pki, CrlScope::UserCertsOnly);
    let of_cas = part(&world.pki, CrlScope::CaCertsOnly);
    let own = between.crl_with([], |_| {});
    let good = "";
    for (crls, said_of_direct, said_of_below) in [
        (
            of_leaves.clone() + &own,
            good,
            "covers the intermediate certificate (CN=aegis test intermediate)",
        ),
        (of_cas.clone() + &own, "covers the certificate", good),
        (of_leaves + &of_cas + &own, good, good),
    ] {
        std::fs::write(world.path("crl.pem"), crls).unwrap();
        for (certificate, why) in [(&direct, said_of_direct), (&below, said_of_below)] {
            let refused = (!why.is_empty()).then_some("revoked");
            let report = explain_and_scrape(&world, certificate, refused);
            assert!(report.contains(why), "{report}");
        }
    }
}

#[test]
fn a_crl_signed_by_an_intermediate_without_crl_sign_is_ignored() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let between = world.pki.intermediate();
    let crls = world.pki.crl_with([], |_| {}) + &between.crl_with([], |_| {});
    std::fs::write(world.path("crl.pem"), crls).unwrap();
    for (usage, why) in [
        (KeyUsagePurpose::CrlSign, None),
        (
            KeyUsagePurpose::DigitalSignature,
            Some("the key usages of its issuer (CN=aegis test intermediate) lack cRLSign"),
        ),
    ] {
        let ca = between.another_certificate(&world.pki, |ca| {
            ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, usage];
        });
        let certificate = between.client().with_chain([ca]);
        let report = explain_and_scrape(&world, &certificate, why.map(|_| "revoked"));
        assert!(report.contains(why.unwrap_or_default()), "{report}");
    }
}

/// The CRL distribution point of a certificate.
fn point(uri: &str) -> rcgen::CrlDistributionPoint {
    rcgen::CrlDistributionPoint {
        uris: vec![uri.to_owned()],
    }
}

/// The issuing distribution point of a CRL.
fn issuing_point(part: &str) -> Option<rcgen::CrlIssuingDistributionPoint> {
    Some(rcgen::CrlIssuingDistributionPoint {
        distribution_point: point(&format!("http://e.org/{part}")),
        scope: None,
    })
}
