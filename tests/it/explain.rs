//! `aegis explain` reports what the server would do, and why.

use std::process::Output;
use std::time::{Duration, SystemTime};

use crate::harness::aegis::command;
use crate::harness::pki::dns;
use crate::harness::{Certified, PROMETHEUS, Pki, World, allow, answer};

fn explain(world: &World, arguments: &[&str]) -> Output {
    let config = world.write_config();
    let mut command = command();
    command.args(["explain", "--config"]).arg(config);
    command.args(arguments).output().unwrap()
}

#[track_caller]
fn assert_explains(world: &World, arguments: &[&str], code: i32, expected: &str) {
    let output = explain(world, arguments);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    let folder = format!("{}/", world.folder.path().display());
    assert_eq!(stdout.replace(&folder, ""), expected, "{stderr}");
}

fn write_certificate(world: &World, certificate: &Certified) -> String {
    certificate.write(world.folder.path(), "scraper");
    world.path("scraper.pem").to_str().unwrap().to_owned()
}

/// Explains one scrape of `node` from this host and runs it: both must have the same result.
#[track_caller]
pub fn explain_and_scrape(world: &World, certificate: &Certified, reason: Option<&str>) -> String {
    let service = world.service("node", answer("up 1\n"));
    let file = write_certificate(world, certificate);
    let arguments = ["--from", "127.0.0.1", "--cert", &file, "--service", "node"];
    let output = explain(world, &arguments);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let aegis = world.start();
    let scraped = world.scraper(&aegis, Some(certificate)).try_get("/node");
    match reason {
        None => {
            assert_eq!(output.status.code(), Some(0), "{stdout}");
            assert_eq!(scraped.unwrap().status, 200);
        }
        Some(reason) => {
            assert_eq!(output.status.code(), Some(1), "{stdout}");
            let refused = format!("refused: stage=handshake reason={reason}: ");
            assert!(stdout.starts_with(&refused), "{stdout}");
            assert!(scraped.is_err(), "{stdout}");
            aegis.logged_refusal("handshake", reason);
            assert_eq!(service.connections(), 0);
        }
    }
    stdout
}

#[test]
fn explain_shows_name_address_and_entry_of_an_allowed_scrape() {
    let mut world = World::new();
    let here = r#""10.0.0.0/24""#;
    let named = format!(r#""dns:{PROMETHEUS}""#);
    world.settings.allow =
        allow(here, r#""dns:other.org""#, r#""*""#) + &allow(here, &named, r#""node""#);
    let _service = world.service("node", answer("up 1\n"));
    let file = write_certificate(&world, &world.pki.client());
    for address in ["10.0.0.1", "::ffff:10.0.0.1"] {
        assert_explains(
            &world,
            &["--from", address, "--cert", &file, "--service", "node"],
            0,
            "allowed: node for dns:prometheus.example.org from 10.0.0.1, by allow[1] (aegis.toml:13)\n",
        );
    }
}

#[test]
fn explain_does_not_verify_given_names_and_says_so() {
    let mut world = World::new();
    let pin = "spki:sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let patterns = format!(r#""spiffe://e.org/*", "{pin}""#);
    world.settings.allow = allow(r#""10.0.0.1""#, &patterns, r#""*""#);
    let assert_claim = |names: &[&str], expected: &str, code| {
        let mut arguments = vec!["--from", "10.0.0.1", "--service", "metrics"];
        arguments.extend(names.iter().flat_map(|name| ["--as", *name]));
        let note = "note: no certificate was checked; the names of --as are not verified\n";
        assert_explains(&world, &arguments, code, &format!("{expected}{note}"));
    };
    let entry = "from 10.0.0.1, by allow[0] (aegis.toml:9)";
    let by_name = format!("allowed: metrics for uri:spiffe://e.org/p {entry}\n");
    assert_claim(&["dns:a.org", "spiffe://e.org/p"], &by_name, 0);
    assert_claim(&[pin], &format!("allowed: metrics for {pin} {entry}\n"), 0);
    let refused = "refused: stage=handshake reason=identity: no allow entry admits this identity from this address (dns:a.org)\nallow[0] (aegis.toml:9): networks yes, identities no, services yes\n";
    assert_claim(&["dns:a.org"], refused, 1);
}

/// Address, name and service; then the refusal, and the result of each entry's columns.
const REFUSED_BY_POLICY: &[[&str; 7]] = &[
    [
        "10.9.0.1",
        "a.org",
        "team-a-x",
        "admit",
        "network",
        "no, identities yes, services yes",
        "no, identities no, services no",
    ],
    [
        "10.0.1.1",
        "a.org",
        "team-a-x",
        "handshake",
        "identity",
        "no, identities yes, services yes",
        "yes, identities no, services no",
    ],
    [
        "10.0.0.1",
        "a.org",
        "team-b-x",
        "authorize",
        "not_granted",
        "yes, identities yes, services no",
        "no, identities no, services yes",
    ],
];

#[test]
fn explain_names_each_column_that_does_not_match() {
    let mut world = World::new();
    world.settings.allow = allow(r#""10.0.0.0/24""#, r#""dns:a.org""#, r#""team-a-*""#)
        + &allow(r#""10.0.1.0/24""#, r#""dns:b.org""#, r#""team-b-*""#);
    let _services = ["team-a-x", "team-b-x"].map(|name| world.service(name, answer("up 1\n")));
    for [from, name, service, stage, reason, columns @ ..] in REFUSED_BY_POLICY {
        let file = write_certificate(
            &world,
            &world
                .pki
                .client_with(|params| params.subject_alt_names = vec![dns(name)]),
        );
        let name = format!("dns:{name}");
        for identity in [["--cert", file.as_str()], ["--as", &name]] {
            let arguments = [&["--from", from, "--service", service][..], &identity].concat();
            let output = explain(&world, &arguments);
            let stdout = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(1), "{stdout}");
            let lines: Vec<&str> = stdout.lines().collect();
            let refused = format!("refused: stage={stage} reason={reason}: ");
            assert!(lines[0].starts_with(&refused), "{stdout}");
            for (number, columns) in columns.iter().enumerate() {
                let entry = format!("allow[{number}] (");
                assert!(lines[number + 1].starts_with(&entry), "{stdout}");
                let columns = format!("): networks {columns}");
                assert!(lines[number + 1].ends_with(&columns), "{stdout}");
            }
        }
    }
}

#[test]
fn explain_judges_a_certificate_as_serve_does() {
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let world = World::new();
    explain_and_scrape(&world, &world.pki.client(), None);
    let between = world.pki.intermediate();
    let chain = between.client().with_chain([between.ca_der()]);
    explain_and_scrape(&world, &chain, None);
    explain_and_scrape(&world, &between.client(), Some("untrusted"));
    explain_and_scrape(&world, &Pki::new().client(), Some("untrusted"));
    explain_and_scrape(&world, &Certified::self_signed(), Some("untrusted"));
    explain_and_scrape(&world, &world.pki.server(), Some("usage"));
    let expired = world.pki.client_with(|params| {
        params.not_before = (now - 2 * day).into();
        params.not_after = (now - day).into();
    });
    let report = explain_and_scrape(&world, &expired, Some("expired"));
    assert!(
        report.contains(
            "the certificate is outside its validity period (the certificate expired at "
        ),
        "{report}"
    );
    // A problem of the certificate does not affect the verdict of the policy.
    assert!(!report.contains("allow["), "{report}");
    let zero = world
        .pki
        .client_with(|params| params.serial_number = Some(vec![0].into()));
    let report = explain_and_scrape(&world, &zero, Some("untrusted"));
    assert!(
        report.contains("has a serial number that is zero"),
        "{report}"
    );
    let other = world
        .pki
        .client_with(|params| params.subject_alt_names = vec![dns("other.org")]);
    explain_and_scrape(&world, &other, Some("identity"));
}

#[test]
fn explain_reports_a_revoked_certificate() {
    let day = Duration::from_secs(24 * 3600);
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let (good, bad) = (world.pki.client(), world.pki.client());
    let crl = |next_update| world.pki.crl_revoking(&bad, next_update);
    std::fs::write(world.path("crl.pem"), crl(day)).unwrap();
    explain_and_scrape(&world, &bad, Some("revoked"));
    explain_and_scrape(&world, &good, None);
    std::fs::write(world.path("crl.pem"), crl(Duration::from_secs(60))).unwrap();
    explain_and_scrape(&world, &good, Some("revoked"));
}

#[test]
fn explain_notes_a_missing_service() {
    let world = World::new();
    let file = write_certificate(&world, &world.pki.client());
    let arguments = ["--from", "::1", "--cert", &file, "--service", "nothing"];
    let stdout = String::from_utf8(explain(&world, &arguments).stdout).unwrap();
    assert!(
        stdout.ends_with("\nnote: this service does not exist at present\n"),
        "{stdout}"
    );
}

/// Invalid command lines and their errors. KEY is a file without a certificate.
const MISUSED: &[(&str, &str)] = &[
    (
        "--from 10.0.0.0/24 --service node --as dns:a.org",
        "is not an IP address",
    ),
    (
        "--from localhost --service node --as dns:a.org",
        "is not an IP address",
    ),
    (
        "--from ::1 --service ../node --as dns:a.org",
        "is not a service name",
    ),
    (
        "--from ::1 --service node --as a.org",
        "is not a name of a scraper; write dns:",
    ),
    (
        "--from ::1 --service node --as *",
        "is not a name of a scraper",
    ),
    (
        "--from ::1 --service node --as dns:*.org",
        "is not a name of a scraper",
    ),
    (
        "--from ::1 --service node --as spki:sha256/AAAA",
        "is not a name of a scraper",
    ),
    (
        "--from ::1 --service node --as spki:sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= --as spki:sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=",
        "--as: a certificate has one key",
    ),
    ("--from ::1 --service node", "<--cert <FILE>|--as <SAN>>"),
    (
        "--from ::1 --service node --as dns:a.org --cert x.pem",
        "cannot be used with",
    ),
    ("--from ::1 --as dns:a.org", "--service <NAME>"),
    ("--service node --as dns:a.org", "--from <IP>"),
    (
        "--from ::1 --service node --cert /nowhere.pem",
        "--cert: /nowhere.pem cannot be read: No such file",
    ),
    (
        "--from ::1 --service node --cert KEY",
        "server.key holds no certificate in PEM",
    ),
];

#[test]
fn explain_refuses_invalid_arguments() {
    let world = World::new();
    let key = world.path("server.key");
    for (line, expected) in MISUSED {
        let words = line.split(' ').map(|word| match word {
            "KEY" => key.to_str().unwrap(),
            word => word,
        });
        let output = explain(&world, &words.collect::<Vec<_>>());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {stderr}");
        assert!(stderr.contains(expected), "{line}: {stderr}");
        assert!(output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn explain_reports_an_invalid_configuration_as_check_does() {
    let mut world = World::new();
    world.settings.limits = "idle_timeout = \"0s\"\nhandshakes = 0".to_owned();
    let arguments = [
        "--from",
        "10.0.0.1",
        "--as",
        "dns:a.org",
        "--service",
        "node",
    ];
    let output = explain(&world, &arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    for text in [
        "limits.idle_timeout",
        "limits.handshakes",
        "2 errors in the configuration",
    ] {
        assert!(stderr.contains(text), "{stderr}");
    }
}
