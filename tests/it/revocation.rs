//! Stage 2 with CRLs: who is revoked is out, and nobody is let in for want of a list.

use std::time::Duration;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;

use crate::handshake::stage;
use crate::harness::aegis::command;
use crate::harness::{World, answer, operator};
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
