//! A broken file at a reload is reported, and the last good state stays until it is repaired.

use std::fs;

use rustix::process::Signal;

use crate::harness::aegis::run;
use crate::harness::{Pki, World};
use crate::reload::{DAY, RELOADED, fixture};

/// A setting, a function that breaks its file, and the expected error.
type Breakage = (&'static str, fn(&World), &'static str);

const BREAKAGES: &[Breakage] = &[
    (
        "empty certificate",
        |world| fs::write(world.path("server.pem"), "").unwrap(),
        "server.pem holds no certificate",
    ),
    (
        "half a certificate",
        |world| halve(world, "server.pem"),
        "server.pem",
    ),
    (
        "another key",
        |world| {
            fs::write(
                world.path("server.key"),
                Pki::new().server().key.serialize_pem(),
            )
            .unwrap()
        },
        "is not the key of the certificate",
    ),
    (
        "expired CA",
        |world| fs::write(world.path("ca.pem"), expired_ca()).unwrap(),
        "ca.pem holds a certificate (CN=expired) that is valid only from",
    ),
    (
        "junk CRL",
        |world| add(world, "[tls]\n", "client_crl_files = [\"junk.pem\"]\n"),
        "junk.pem holds no CRL",
    ),
    (
        "folder",
        |world| replace_by(world, "ca.pem", |path| fs::create_dir(path).unwrap()),
        "ca.pem cannot be read: it is not a regular file",
    ),
    (
        "FIFO",
        |world| replace_by(world, "ca.pem", fifo),
        "ca.pem cannot be read: it is not a regular file",
    ),
    (
        "missing",
        |world| fs::remove_file(world.path("server.key")).unwrap(),
        "server.key cannot be read: No such file",
    ),
    (
        "1 GB, sparse",
        |world| {
            fs::File::create(world.path("ca.pem"))
                .unwrap()
                .set_len(1 << 30)
                .unwrap()
        },
        "ca.pem cannot be read: it is larger than 16 MiB",
    ),
    (
        "unknown key",
        |world| add(world, "[limits]\n", "conections = 1\n"),
        "limits.conections: unknown key",
    ),
    (
        "table twice",
        |world| add(world, "[log]\n", "[tls]\n"),
        "is not TOML: duplicate key",
    ),
    (
        "no configuration",
        |world| fs::remove_file(world.path("aegis.toml")).unwrap(),
        "aegis.toml cannot be read: No such file",
    ),
    (
        "no socket directory",
        |world| fs::rename(world.path("services"), world.path("gone")).unwrap(),
        "services cannot be opened: No such file",
    ),
];

fn swap(world: &World, from: &str, to: &str) {
    let text = fs::read_to_string(world.path("aegis.toml")).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(world.path("aegis.toml"), text.replacen(from, to, 1)).unwrap();
}

fn add(world: &World, after: &str, line: &str) {
    fs::write(world.path("junk.pem"), "junk").unwrap();
    swap(world, after, &format!("{after}{line}"));
}

fn halve(world: &World, file: &str) {
    let text = fs::read(world.path(file)).unwrap();
    fs::write(world.path(file), &text[..text.len() / 2]).unwrap();
}

fn replace_by(world: &World, file: &str, make: fn(&std::path::Path)) {
    fs::remove_file(world.path(file)).unwrap();
    make(&world.path(file));
}

fn fifo(path: &std::path::Path) {
    assert!(
        std::process::Command::new("mkfifo")
            .arg(path)
            .status()
            .unwrap()
            .success()
    );
}

fn expired_ca() -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "expired");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = (std::time::SystemTime::now() - DAY).into();
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn a_broken_reload_is_reported_and_the_old_config_stays() {
    let mut fixture = fixture();
    fixture.world.settings.rest = "[log]\n".to_owned();
    let files = ["server.pem", "server.key", "ca.pem"];
    let good = files.map(|file| fs::read(fixture.world.path(file)).unwrap());
    for (what, break_it, expected) in BREAKAGES {
        fixture.reload();
        let texts = ["ERROR", "not reloaded", expected];
        let before = fixture.aegis.count_logged(&texts);
        break_it(&fixture.world);
        fixture.aegis.signal(Signal::HUP);
        let line = fixture.aegis.logged_times(before + 1, &texts);
        assert!(
            line.contains("the previous configuration stays in force"),
            "{what}: {line}"
        );
        if *what == "no configuration" {
            let others = fixture.aegis.count_logged(&["ERROR", "is not set"]);
            assert_eq!(others, 0, "one cause, one line");
        }
        let own = fixture.prometheus.get("/metrics").unwrap().text();
        assert!(
            own.contains("aegis_config_last_reload_successful 0\n"),
            "{what}: {own}"
        );
        assert_eq!(
            fixture.prometheus.get("/node").unwrap().status,
            200,
            "{what}"
        );
        let fresh = fixture.world.prometheus(&fixture.aegis);
        assert_eq!(fresh.get("/node").status, 200, "{what}");

        let before = fixture.aegis.count_logged(RELOADED);
        for (file, bytes) in files.iter().zip(&good) {
            let path = fixture.world.path(file);
            drop(fs::remove_file(&path));
            drop(fs::remove_dir(&path));
            fs::write(path, bytes).unwrap();
        }
        drop(fs::rename(
            fixture.world.path("gone"),
            fixture.world.path("services"),
        ));
        fixture.world.write_config();
        // aegis retries without a signal.
        fixture.aegis.logged_times(before + 1, RELOADED);
        let own = fixture.prometheus.get("/metrics").unwrap().text();
        assert!(
            own.contains("aegis_config_last_reload_successful 1\n"),
            "{what}: {own}"
        );
    }
}

#[test]
fn a_log_file_as_configuration_gives_a_few_short_errors() {
    let world = World::new();
    let line = "2026-11-29T00:02:14Z INFO scraped peer=192.0.2.1 port=1 service=\"node\"\n";
    let path = world.path("aegis.toml");
    fs::write(&path, line.repeat(30_000)).unwrap();
    let output = run(&["check", "--config", path.to_str().unwrap()]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr.contains("is it the right file?"), "{stderr}");
    assert!(stderr.lines().count() < 60, "{stderr}");
}
