//! Whatever is broken at a reload is named, and the last good state stays until it is mended.

use std::fs;

use rustix::process::Signal;

use crate::harness::{Pki, World};
use crate::reload::{DAY, RELOADED, stage};

/// Breaks one file, and gives what must be said of it.
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
        "empty allow",
        |world| swap(world, "networks = [\"127.0.0.1\"]", "networks = []"),
        "allow[0].networks: is empty",
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
fn whatever_is_broken_is_named_and_the_last_good_state_stays_until_it_is_mended() {
    let mut stage = stage();
    stage.world.settings.rest = "[log]\n".to_owned();
    let files = ["server.pem", "server.key", "ca.pem"];
    let good = files.map(|file| fs::read(stage.world.path(file)).unwrap());
    for (what, break_it, expected) in BREAKAGES {
        stage.reload();
        let said = ["ERROR", "not reloaded", expected];
        let before = stage.aegis.times(&said);
        break_it(&stage.world);
        stage.aegis.signal(Signal::HUP);
        let line = stage.aegis.logged_times(before + 1, &said);
        assert!(
            line.contains("the configuration before stays in force"),
            "{what}: {line}"
        );
        if *what == "no configuration" {
            let others = stage.aegis.times(&["ERROR", "is not set"]);
            assert_eq!(others, 0, "one cause, one line");
        }
        let own = stage.prometheus.get("/metrics").unwrap().text();
        assert!(
            own.contains("aegis_config_last_reload_successful 0\n"),
            "{what}: {own}"
        );
        assert_eq!(stage.prometheus.get("/node").unwrap().status, 200, "{what}");
        let fresh = stage.world.prometheus(&stage.aegis);
        assert_eq!(fresh.get("/node").status, 200, "{what}");

        let before = stage.aegis.times(RELOADED);
        for (file, bytes) in files.iter().zip(&good) {
            let path = stage.world.path(file);
            drop(fs::remove_file(&path));
            drop(fs::remove_dir(&path));
            fs::write(path, bytes).unwrap();
        }
        drop(fs::rename(
            stage.world.path("gone"),
            stage.world.path("services"),
        ));
        stage.world.write_config();
        // It is tried again without being told.
        stage.aegis.logged_times(before + 1, RELOADED);
        let own = stage.prometheus.get("/metrics").unwrap().text();
        assert!(
            own.contains("aegis_config_last_reload_successful 1\n"),
            "{what}: {own}"
        );
    }
}
