//! Stage 2 with CRLs: who is revoked is out, and nobody is let in for want of a list.

use std::time::Duration;

use crate::handshake::stage;
use crate::harness::World;

#[test]
fn a_revoked_certificate_is_refused_and_others_of_the_same_ca_are_not() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let (good, bad) = (world.pki.client(), world.pki.client());
    let day = Duration::from_secs(24 * 3600);
    std::fs::write(world.path("crl.pem"), world.pki.crl_revoking(&bad, day)).unwrap();
    let stage = stage(world);
    stage.refuses(Some(&bad), "revoked");
    stage.admits(&good);
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
