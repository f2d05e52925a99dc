//! Stage 2 with CRLs: who is revoked is out, and nobody is let in for want of a list.

use std::time::Duration;

use rcgen::{CrlScope, KeyUsagePurpose};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;

use crate::explain::agree;
use crate::handshake::stage;
use crate::harness::aegis::command;
use crate::harness::{Certified, Pki, World, answer, operator};
use crate::life::until_refused;

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
        aegis.refused("handshake", "revoked");
        assert_eq!(service.connections(), 0, "{file}");
        assert_eq!(world.scraper(&aegis, Some(&good)).get("/node").status, 200);
    }
}

#[test]
fn an_expired_crl_vouches_for_nobody() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let (good, bad) = (world.pki.client(), world.pki.client());
    let crl = world.pki.crl_revoking(&bad, Duration::from_secs(60));
    std::fs::write(world.path("crl.pem"), crl).unwrap();
    let stage = stage(world);
    stage.refuses(Some(&good), "revoked");
}

#[test]
fn a_crl_that_runs_out_ends_the_open_connections_of_whom_it_vouched_for() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let _service = world.service("node", answer("up 1\n"));
    let (good, bad) = (world.pki.client(), world.pki.client());
    let soon = Duration::from_secs(3600 + 8);
    std::fs::write(world.path("crl.pem"), world.pki.crl_revoking(&bad, soon)).unwrap();
    let aegis = world.start();
    let mut connection = world.scraper(&aegis, Some(&good)).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().status, 200);
    until_refused(&mut connection);
    aegis.refused("handshake", "revoked");
}

#[test]
fn an_expired_crl_goes_on_to_be_asked_only_by_a_loud_choice() {
    let mut world = World::new();
    world.settings.tls =
        "client_crl_files = [\"crl.pem\"]\nunsafe_accept_expired_crls = true".to_owned();
    let (good, bad) = (world.pki.client(), world.pki.client());
    let crl = world.pki.crl_revoking(&bad, Duration::from_secs(60));
    std::fs::write(world.path("crl.pem"), crl).unwrap();
    let stage = stage(world);
    stage.aegis.logged(&[
        "WARN",
        "tls.unsafe_accept_expired_crls: whoever was revoked",
    ]);
    stage.refuses(Some(&bad), "revoked");
    stage.admits(&good);
}

#[test]
fn where_no_client_ca_has_a_current_crl_it_is_not_ready_and_check_says_so() {
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
        let said = String::from_utf8(check.output().unwrap().stdout).unwrap();
        match warning {
            Some(warning) => assert!(said.contains(warning), "{said}"),
            None => assert!(!said.contains("CRL"), "{said}"),
        }
        let aegis = world.start();
        let answer = operator::ask(&world.path("admin.sock"), "GET", "/-/ready", "");
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
fn a_certificate_that_any_crl_of_its_issuer_lists_is_refused() {
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
            let said = agree(&world, revoked, Some("revoked"));
            let why = "a CRL of CN=aegis test CA lists the certificate";
            assert!(said.contains(why), "{parts:?}: {said}");
        }
        agree(&world, &good, None);
    }
}

#[test]
fn each_part_of_a_crl_must_be_current() {
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
    // The expired one has a successor.
    let both = part("other", true) + &part("other", false);
    std::fs::write(world.path("other.pem"), both).unwrap();
    agree(&world, &of("one"), None);
    agree(&world, &of("other"), None);
    agree(&world, &pki.client(), None);
    let said = agree(&world, &of("elsewhere"), Some("revoked"));
    let why = "no CRL that CN=aegis test CA has signed covers the certificate";
    assert!(said.contains(why), "{said}");

    std::fs::write(world.path("other.pem"), part("other", true)).unwrap();
    agree(&world, &of("one"), None);
    for certificate in [of("other"), pki.client()] {
        let said = agree(&world, &certificate, Some("revoked"));
        let why = "which covers the certificate, expired at ";
        assert!(said.contains(why), "{said}");
    }
}

// #17
#[test]
fn a_ca_with_a_new_key_has_a_crl_by_each_of_its_keys() {
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
        agree(&world, revoked, Some("revoked"));
    }
    for good in [old.client(), new.client()] {
        agree(&world, &good, None);
    }
    // Without a CRL by a key of it, the certificates of that key are not known to be good.
    crl(&old, "new.pem", &revoked);
    agree(&world, &old.client(), None);
    let said = agree(&world, &new.client(), Some("revoked"));
    let why = "no CRL that CN=aegis test CA has signed covers the certificate";
    assert!(said.contains(why), "{said}");
    let mut check = command();
    check.args(["check", "--config"]).arg(world.write_config());
    let said = String::from_utf8(check.output().unwrap().stdout).unwrap();
    let warning = "there is no CRL of the client CA (CN=aegis test CA)";
    assert!(said.contains(warning), "{said}");
}

#[test]
fn crls_of_intermediates_of_one_name_count_by_their_keys() {
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
        let said = agree(&world, revoked, Some("revoked"));
        let why = "a CRL of CN=aegis test intermediate lists the certificate";
        assert!(said.contains(why), "{said}");
        agree(&world, &client(pki), None);
    }
    // The intermediate itself is revoked, or its CRL is missing.
    let whole = world.pki.crl_with([&one.certified()], |_| {});
    std::fs::write(world.path("root.pem"), whole).unwrap();
    let said = agree(&world, &client(&one), Some("revoked"));
    let why = "lists the intermediate certificate (CN=aegis test intermediate)";
    assert!(said.contains(why), "{said}");
    agree(&world, &client(&other), None);
    crl(&one, "other.pem", &revoked);
    agree(&world, &client(&other), Some("revoked"));
}

#[test]
fn a_crl_for_cas_or_for_others_alone_covers_no_certificate_of_the_other_kind() {
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
            let said = agree(&world, certificate, refused);
            assert!(said.contains(why), "{said}");
        }
    }
}

#[test]
fn a_crl_of_an_intermediate_that_may_not_sign_it_does_not_count() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let between = world.pki.intermediate();
    let crls = world.pki.crl_with([], |_| {}) + &between.crl_with([], |_| {});
    std::fs::write(world.path("crl.pem"), crls).unwrap();
    for (usage, why) in [
        (KeyUsagePurpose::CrlSign, None),
        (
            KeyUsagePurpose::DigitalSignature,
            Some("the key usages of its issuer (CN=aegis test intermediate) leave out cRLSign"),
        ),
    ] {
        let ca = between.another_certificate(&world.pki, |ca| {
            ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, usage];
        });
        let certificate = between.client().with_chain([ca]);
        let said = agree(&world, &certificate, why.map(|_| "revoked"));
        assert!(said.contains(why.unwrap_or_default()), "{said}");
    }
}

/// Where a certificate says that its CRL is.
fn point(uri: &str) -> rcgen::CrlDistributionPoint {
    rcgen::CrlDistributionPoint {
        uris: vec![uri.to_owned()],
    }
}

/// Where a CRL says that it is.
fn issuing_point(part: &str) -> Option<rcgen::CrlIssuingDistributionPoint> {
    Some(rcgen::CrlIssuingDistributionPoint {
        distribution_point: point(&format!("http://e.org/{part}")),
        scope: None,
    })
}
