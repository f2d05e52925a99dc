//! Needs the program `openssl`: what `certs/generate.sh` makes, and a scraper that renegotiates.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use aegis::policy::identity::Identity;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::Tests;
use crate::harness::aegis::{binary, command};
use crate::harness::{Aegis, Scraper, World, answer};

pub const TESTS: Tests = tests![
    aegis_and_openssl_accept_the_certificates_of_the_script,
    the_script_overwrites_only_with_force,
    aegis_refuses_what_the_script_revokes,
    the_documented_command_prints_the_pin_of_a_key,
    renegotiation_is_refused,
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
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn aegis_and_openssl_accept_the_certificates_of_the_script() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let pki = world.path("a pki");
    let output = generated(&pki, &["init"]);
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

    // The command that it prints starts aegis.
    let (_, after) = output.split_once("aegis serve \\\n").unwrap();
    let flags = after.split("\n\n").next().unwrap().replace("\\\n", " ");
    let flags = flags.replace(
        "/run/aegis/services",
        world.path("services").to_str().unwrap(),
    );
    let aegis = binary();
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        &format!("exec '{aegis}' serve --listen 127.0.0.1:0 {flags}"),
    ]);
    let aegis = Aegis::spawn(shell);
    let prometheus = scraper_from_files(aegis.address(), &pki, "prometheus");
    assert_eq!(prometheus.get("/node").text(), "up 1\n");
}

fn the_script_overwrites_only_with_force() {
    let folder = tempfile::tempdir().unwrap();
    let pki = folder.path().join("pki");
    generated(&pki, &["init"]);
    let before = std::fs::read(pki.join("ca.pem")).unwrap();
    let again = generate(&pki, &["init"]);
    assert_eq!(again.status.code(), Some(1));
    let stderr = String::from_utf8(again.stderr).unwrap();
    assert!(
        stderr.contains("ca.pem exists and is left as it is; give --force"),
        "{stderr}"
    );
    assert_eq!(std::fs::read(pki.join("ca.pem")).unwrap(), before);
    generated(&pki, &["init", "--force"]);
    assert_ne!(std::fs::read(pki.join("ca.pem")).unwrap(), before);
}

fn aegis_refuses_what_the_script_revokes() {
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
    aegis.logged_refusal("handshake", "revoked");
}

fn the_documented_command_prints_the_pin_of_a_key() {
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

fn renegotiation_is_refused() {
    let mut world = World::new();
    world.settings.tls = r#"min_version = "1.2""#.to_owned();
    // aegis sends the no_renegotiation alert with its next bytes, which are those of the close.
    world.settings.limits = r#"idle_timeout = "3s""#.to_owned();
    let aegis = world.start();
    world.pki.client().write(world.folder.path(), "client");
    let client = Command::new("openssl")
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
    let mut client = client.unwrap();
    // A line with only `R` starts a renegotiation after the first handshake.
    aegis.logged(&["connected"]);
    client.stdin.take().unwrap().write_all(b"R\n").unwrap();
    let output = client.wait_with_output().unwrap().stderr;
    let output = String::from_utf8_lossy(&output).into_owned();
    assert!(output.contains("no renegotiation"), "{output}");
    assert_eq!(aegis.count_logged(&["connected"]), 1);
}
