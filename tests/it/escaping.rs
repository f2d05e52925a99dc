//! Texts from certificates and file names are escaped before they reach a terminal.

use std::process::Output;

use rcgen::{DnType, DnValue};

use crate::harness::aegis::command;
use crate::harness::{Pki, World, answer};

/// Clears the screen, ends the line and reverses the text after it.
const HOSTILE: &str = "evil\x1b[2J\x1b]0;owned\x07\r\nok: all is well\u{202e}";

fn set_hostile_name(params: &mut rcgen::CertificateParams) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = DnValue::Utf8String(HOSTILE.to_owned());
    params.distinguished_name.push(DnType::CommonName, name);
}

/// Runs a command, and asserts that its output is printable and contains this text.
#[track_caller]
fn assert_output_is_escaped(world: &World, arguments: &[&str], text: &str) {
    let mut command = command();
    command
        .args(arguments)
        .arg("--config")
        .arg(world.write_config());
    let Output { stdout, stderr, .. } = command.output().unwrap();
    let output = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert!(output.contains(text), "no {text:?} in {output}");
    let is_obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!output.contains(is_obeyed), "{}", output.escape_debug());
    assert!(!output.contains("\nok: all is well"), "{output}");
    assert!(!output.contains("\naegis: ok: all"), "{output}");
}

// #17
#[test]
fn names_of_cas_and_crl_issuers_are_escaped_in_errors_and_warnings() {
    let mut world = World::new();
    let hostile = Pki::named_with("", set_hostile_name);
    let check = &["check"][..];
    let of_no_ca = hostile.client_with(set_hostile_name);
    of_no_ca.write(&world.path(""), "no-ca");
    std::fs::copy(world.path("no-ca.pem"), world.path("ca.pem")).unwrap();
    assert_output_is_escaped(&world, check, "that is not a CA");

    std::fs::write(world.path("ca.pem"), hostile.ca_pem()).unwrap();
    let soon = std::time::Duration::from_secs(2 * 3600);
    let crl = hostile.crl_revoking(&hostile.client(), soon);
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    std::fs::write(world.path("crl.pem"), &crl).unwrap();
    assert_output_is_escaped(&world, check, "warning: the CRL of CN=evil\\x1b[2J");

    let early = hostile.crl_with([], |params| {
        params.this_update = params.next_update;
        params.next_update = (std::time::SystemTime::now() + 100 * soon).into();
    });
    std::fs::write(world.path("crl.pem"), early).unwrap();
    assert_output_is_escaped(&world, check, "holds a CRL of CN=evil\\x1b[2J");
}

#[test]
fn names_of_servers_and_files_are_escaped() {
    let mut world = World::new();
    let now = std::time::SystemTime::now();
    let server = world.pki.client_with(|params| {
        set_hostile_name(params);
        params.not_after = (now + std::time::Duration::from_secs(3600)).into();
    });
    server.write(&world.path(""), "server");
    assert_output_is_escaped(
        &world,
        &["check"],
        "the server certificate (CN=evil\\x1b[2J",
    );
    world.settings.tls = format!("client_crl_files = [{HOSTILE:?}]")
        .replace("\\u{202e}", "\\u202e")
        .replace("\\u{1b}", "\\u001b")
        .replace("\\u{7}", "\\u0007");
    assert_output_is_escaped(&world, &["check"], "cannot be read");
}

#[test]
fn names_in_a_chain_are_escaped_in_explanations_and_the_log() {
    let world = World::new();
    let service = world.service("node", answer("up 1\n"));
    let between = world.pki.intermediate_with(|ca| {
        set_hostile_name(ca);
        ca.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    });
    let scraper = between
        .client_with(set_hostile_name)
        .with_chain([between.ca_der()]);
    scraper.write(&world.path(""), "scraper");
    let file = world.path("scraper.pem");
    let arguments = [
        "explain",
        "--from",
        "127.0.0.1",
        "--service",
        "node",
        "--cert",
    ];
    let arguments = Vec::from_iter(arguments.into_iter().chain([file.to_str().unwrap()]));
    assert_output_is_escaped(
        &world,
        &arguments,
        "the intermediate certificate (CN=evil\\x1b[2J",
    );
    let aegis = world.start();
    assert!(
        world
            .scraper(&aegis, Some(&scraper))
            .try_get("/node")
            .is_err()
    );
    let line = aegis.logged_refusal("handshake", "untrusted");
    assert!(
        line.contains("the intermediate certificate (CN=evil"),
        "{line}"
    );
    assert!(
        !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
        "{}",
        line.escape_debug()
    );
    assert!(!aegis.log().iter().any(|line| line.starts_with("ok: all")));
    assert_eq!(service.connections(), 0);
}
