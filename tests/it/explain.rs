//! `aegis explain` says what the server would do, and why.

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
fn says(world: &World, arguments: &[&str], code: i32, expected: &str) {
    let output = explain(world, arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}{complained}");
    let folder = format!("{}/", world.folder.path().display());
    assert_eq!(said.replace(&folder, ""), expected, "{complained}");
}

fn written(world: &World, certificate: &Certified) -> String {
    certificate.write(world.folder.path(), "scraper");
    world.path("scraper.pem").to_str().unwrap().to_owned()
}

/// Explains one scrape of `node` from this host, and makes it: both must say the same.
#[track_caller]
pub fn agree(world: &World, certificate: &Certified, reason: Option<&str>) -> String {
    let service = world.service("node", answer("up 1\n"));
    let file = written(world, certificate);
    let asked = ["--from", "127.0.0.1", "--cert", &file, "--service", "node"];
    let output = explain(world, &asked);
    let said = String::from_utf8(output.stdout).unwrap();
    let aegis = world.start();
    let scraped = world.scraper(&aegis, Some(certificate)).try_get("/node");
    match reason {
        None => {
            assert_eq!(output.status.code(), Some(0), "{said}");
            assert_eq!(scraped.unwrap().status, 200);
        }
        Some(reason) => {
            assert_eq!(output.status.code(), Some(1), "{said}");
            let refused = format!("refused: stage=handshake reason={reason}: ");
            assert!(said.starts_with(&refused), "{said}");
            assert!(scraped.is_err(), "{said}");
            aegis.refused("handshake", reason);
            assert_eq!(service.connections(), 0);
        }
    }
    said
}

#[test]
fn an_allowed_scrape_is_said_with_its_name_its_address_and_its_entry() {
    let mut world = World::new();
    let here = r#""10.0.0.0/24""#;
    let named = format!(r#""dns:{PROMETHEUS}""#);
    world.settings.allow =
        allow(here, r#""dns:other.org""#, r#""*""#) + &allow(here, &named, r#""node""#);
    let _service = world.service("node", answer("up 1\n"));
    let file = written(&world, &world.pki.client());
    for address in ["10.0.0.1", "::ffff:10.0.0.1"] {
        says(
            &world,
            &["--from", address, "--cert", &file, "--service", "node"],
            0,
            "allowed: node for dns:prometheus.example.org from 10.0.0.1, by allow[1] (aegis.toml:13)\n",
        );
    }
}

#[test]
fn names_are_taken_as_given_and_it_is_said_that_they_are() {
    let mut world = World::new();
    let pin = "spki:sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let patterns = format!(r#""spiffe://e.org/*", "{pin}""#);
    world.settings.allow = allow(r#""10.0.0.1""#, &patterns, r#""*""#);
    let asked = |names: &[&str], expected: &str, code| {
        let mut arguments = vec!["--from", "10.0.0.1", "--service", "metrics"];
        arguments.extend(names.iter().flat_map(|name| ["--as", *name]));
        let note = "note: no certificate was checked; the names are taken as given\n";
        says(&world, &arguments, code, &format!("{expected}{note}"));
    };
    let entry = "from 10.0.0.1, by allow[0] (aegis.toml:9)";
    let by_name = format!("allowed: metrics for uri:spiffe://e.org/p {entry}\n");
    asked(&["dns:a.org", "spiffe://e.org/p"], &by_name, 0);
    asked(&[pin], &format!("allowed: metrics for {pin} {entry}\n"), 0);
    let nobody = "refused: stage=handshake reason=identity: no allow entry admits this identity from this address (dns:a.org)\nallow[0] (aegis.toml:9): networks yes, identities no, services yes\n";
    asked(&["dns:a.org"], nobody, 1);
}

/// From where, under which name, for what; then the refusal, and what each entry's columns say.
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
fn each_column_that_says_no_is_named() {
    let mut world = World::new();
    world.settings.allow = allow(r#""10.0.0.0/24""#, r#""dns:a.org""#, r#""team-a-*""#)
        + &allow(r#""10.0.1.0/24""#, r#""dns:b.org""#, r#""team-b-*""#);
    let _services = ["team-a-x", "team-b-x"].map(|name| world.service(name, answer("up 1\n")));
    for [from, name, service, stage, reason, columns @ ..] in REFUSED_BY_POLICY {
        let file = written(
            &world,
            &world
                .pki
                .client_with(|params| params.subject_alt_names = vec![dns(name)]),
        );
        let name = format!("dns:{name}");
        for identity in [["--cert", file.as_str()], ["--as", &name]] {
            let asked = [&["--from", from, "--service", service][..], &identity].concat();
            let output = explain(&world, &asked);
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(1), "{said}");
            let lines: Vec<&str> = said.lines().collect();
            let refused = format!("refused: stage={stage} reason={reason}: ");
            assert!(lines[0].starts_with(&refused), "{said}");
            for (number, columns) in columns.iter().enumerate() {
                let entry = format!("allow[{number}] (");
                assert!(lines[number + 1].starts_with(&entry), "{said}");
                let columns = format!("): networks {columns}");
                assert!(lines[number + 1].ends_with(&columns), "{said}");
            }
        }
    }
}

#[test]
fn it_judges_a_certificate_as_the_server_does() {
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let world = World::new();
    agree(&world, &world.pki.client(), None);
    let between = world.pki.intermediate();
    let chain = between.client().with_chain([between.ca_der()]);
    agree(&world, &chain, None);
    agree(&world, &between.client(), Some("untrusted"));
    agree(&world, &Pki::new().client(), Some("untrusted"));
    agree(&world, &Certified::self_signed(), Some("untrusted"));
    agree(&world, &world.pki.server(), Some("usage"));
    let expired = world.pki.client_with(|params| {
        params.not_before = (now - 2 * day).into();
        params.not_after = (now - day).into();
    });
    let said = agree(&world, &expired, Some("expired"));
    assert!(
        said.contains(
            "the certificate is outside its validity period (the certificate expired at "
        ),
        "{said}"
    );
    // What is wrong with a certificate says nothing of the policy.
    assert!(!said.contains("allow["), "{said}");
    let zero = world
        .pki
        .client_with(|params| params.serial_number = Some(vec![0].into()));
    let said = agree(&world, &zero, Some("untrusted"));
    assert!(said.contains("has a serial number that is zero"), "{said}");
    let other = world
        .pki
        .client_with(|params| params.subject_alt_names = vec![dns("other.org")]);
    agree(&world, &other, Some("identity"));
}

#[test]
fn a_revoked_certificate_is_said_to_be() {
    let day = Duration::from_secs(24 * 3600);
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let (good, bad) = (world.pki.client(), world.pki.client());
    let crl = |next_update| world.pki.crl_revoking(&bad, next_update);
    std::fs::write(world.path("crl.pem"), crl(day)).unwrap();
    agree(&world, &bad, Some("revoked"));
    agree(&world, &good, None);
    std::fs::write(world.path("crl.pem"), crl(Duration::from_secs(60))).unwrap();
    agree(&world, &good, Some("revoked"));
}

#[test]
fn a_service_that_is_not_there_is_noted() {
    let world = World::new();
    let file = written(&world, &world.pki.client());
    let asked = ["--from", "::1", "--cert", &file, "--service", "nothing"];
    let said = String::from_utf8(explain(&world, &asked).stdout).unwrap();
    assert!(
        said.ends_with("\nnote: there is no such service now\n"),
        "{said}"
    );
}

/// Command lines in which KEY is a file that holds no certificate, and what is said of them.
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
fn arguments_that_cannot_be_meant_are_wrong_usage() {
    let world = World::new();
    let key = world.path("server.key");
    for (line, expected) in MISUSED {
        let words = line.split(' ').map(|word| match word {
            "KEY" => key.to_str().unwrap(),
            word => word,
        });
        let output = explain(&world, &words.collect::<Vec<_>>());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {said}");
        assert!(said.contains(expected), "{line}: {said}");
        assert!(output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn a_faulty_configuration_is_said_as_by_check() {
    let mut world = World::new();
    world.settings.limits = "idle_timeout = \"0s\"\nhandshakes = 0".to_owned();
    let asked = [
        "--from",
        "10.0.0.1",
        "--as",
        "dns:a.org",
        "--service",
        "node",
    ];
    let output = explain(&world, &asked);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    for text in [
        "limits.idle_timeout",
        "limits.handshakes",
        "2 errors in the configuration",
    ] {
        assert!(said.contains(text), "{said}");
    }
}
