//! Needs the program `openssl`: what `certs/generate.sh` makes, and a scraper that renegotiates.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use aegis::identity::Identity;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::Tests;
use crate::harness::aegis::command;
use crate::harness::{Aegis, Scraper, World, answer};

pub const TESTS: Tests = tests![
    the_certificates_of_the_script_are_those_that_aegis_and_openssl_take,
    the_script_overwrites_nothing_unless_it_is_told_to,
    what_the_script_revokes_aegis_refuses,
    the_documented_command_gives_the_pin_of_a_key,
    nothing_is_negotiated_anew_on_a_connection,
];

pub fn missing() -> Option<String> {
    let found = Command::new("openssl").arg("version").output();
    found
        .err()
        .map(|error| format!("openssl cannot be run: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A scraper with the files that `certs/generate.sh` made.
fn scraper_from_files(address: SocketAddr, folder: &Path, name: &str) -> Scraper {
    let read = |file: String| std::fs::read(folder.join(file)).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&read("ca.pem".to_owned())).unwrap())
        .unwrap();
    let leaf = CertificateDer::from_pem_slice(&read(format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&read(format!("{name}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![leaf], key)
        .unwrap();
    Scraper {
        address,
        tls: Arc::new(tls),
    }
}

fn generate(folder: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new("sh")
        .arg(root().join("certs/generate.sh"))
        .args(arguments)
        .arg("--dir")
        .arg(folder)
        .output()
        .unwrap()
}

fn generated(folder: &Path, arguments: &[&str]) -> String {
    let output = generate(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn the_certificates_of_the_script_are_those_that_aegis_and_openssl_take() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let pki = world.path("a pki");
    let said = generated(&pki, &["init"]);
    for (leaf, purpose) in [("server.pem", "sslserver"), ("prometheus.pem", "sslclient")] {
        let verified = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
            .args([pki.join("ca.pem"), pki.join(leaf)])
            .output();
        let verified = verified.unwrap();
        assert!(
            verified.status.success(),
            "{}",
            String::from_utf8_lossy(&verified.stderr)
        );
    }
    for key in ["ca.key", "server.key", "prometheus.key"] {
        let mode = std::fs::metadata(pki.join(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }

    // The command that it prints is one that starts.
    let (_, after) = said.split_once("aegis serve \\\n").unwrap();
    let flags = after.split("\n\n").next().unwrap().replace("\\\n", " ");
    let flags = flags.replace(
        "/run/aegis/services",
        world.path("services").to_str().unwrap(),
    );
    let aegis = env!("CARGO_BIN_EXE_aegis");
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        &format!("exec '{aegis}' serve --listen 127.0.0.1:0 {flags}"),
    ]);
    let aegis = Aegis::spawn(shell);
    let prometheus = scraper_from_files(aegis.address(), &pki, "prometheus");
    assert_eq!(prometheus.get("/node").text(), "up 1\n");
}

fn the_script_overwrites_nothing_unless_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let pki = folder.path().join("pki");
    generated(&pki, &["init"]);
    let before = std::fs::read(pki.join("ca.pem")).unwrap();
    let again = generate(&pki, &["init"]);
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(
        said.contains("ca.pem exists and is left as it is; give --force"),
        "{said}"
    );
    assert_eq!(std::fs::read(pki.join("ca.pem")).unwrap(), before);
    generated(&pki, &["init", "--force"]);
    assert_ne!(std::fs::read(pki.join("ca.pem")).unwrap(), before);
}

fn what_the_script_revokes_aegis_refuses() {
    let world = World::new();
    let pki = world.path("pki");
    for arguments in [
        &["init"][..],
        &["client", "leaver"],
        &["revoke", "leaver"],
        &["crl"],
    ] {
        generated(&pki, arguments);
    }
    let mut serve = command();
    serve.args(["serve", "--log-level", "debug", "--listen", "127.0.0.1:0"]);
    for (flag, file) in [
        ("--tls-cert", "server.pem"),
        ("--tls-key", "server.key"),
        ("--client-ca", "ca.pem"),
        ("--client-crl", "crl.pem"),
    ] {
        serve.arg(flag).arg(pki.join(file));
    }
    serve.arg("--socket-dir").arg(world.path("services"));
    serve.args(["--allow-network", "127.0.0.1", "--allow-identity", "*"]);
    let aegis = Aegis::spawn(serve);
    let scraper = |name| scraper_from_files(aegis.address(), &pki, name);
    assert_eq!(scraper("prometheus").get("/node").status, 404);
    assert!(scraper("leaver").try_get("/node").is_err());
    aegis.refused("handshake", "revoked");
}

fn the_documented_command_gives_the_pin_of_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let pki = folder.path().join("pki");
    generated(&pki, &["init"]);
    let text = std::fs::read_to_string(root().join("docs/certificates.md")).unwrap();
    let command = text
        .split("```")
        .find_map(|block| block.strip_prefix("sh\n"));
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command.unwrap()).current_dir(&pki);
    let pin = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    let leaf = CertificateDer::from_pem_file(pki.join("prometheus.pem")).unwrap();
    let identity = Identity::from_leaf(&leaf).unwrap();
    assert_eq!(
        identity.key().to_string(),
        format!("spki:sha256/{}", pin.trim())
    );
}

fn nothing_is_negotiated_anew_on_a_connection() {
    let mut world = World::new();
    world.settings.tls = r#"min_version = "1.2""#.to_owned();
    // The alert that says no goes out with the next bytes, which are those that end it.
    world.settings.limits = r#"idle_timeout = "3s""#.to_owned();
    let aegis = world.start();
    world.pki.client().write(world.folder.path(), "client");
    let asked = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect"])
        .arg(aegis.address().to_string())
        .args([
            "-CAfile",
            "ca.pem",
            "-cert",
            "client.pem",
            "-key",
            "client.key",
        ])
        .current_dir(world.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut asked = asked.unwrap();
    // `R` on a line of its own, once the first handshake is done.
    aegis.logged(&["connected"]);
    asked.stdin.take().unwrap().write_all(b"R\n").unwrap();
    let said = asked.wait_with_output().unwrap().stderr;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("no renegotiation"), "{said}");
    assert_eq!(aegis.times(&["connected"]), 1);
}
