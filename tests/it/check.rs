//! `aegis check`: warnings of later problems, and JSON reports.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Output;
use std::time::{Duration, SystemTime};

use rcgen::ExtendedKeyUsagePurpose;
use serde_json::Value;

use crate::harness::aegis::command;
use crate::harness::pki::ip;
use crate::harness::{Certified, Pki, Service, World, allow, answer};

fn check(world: &World, more: &[&str]) -> Output {
    let mut command = command();
    command
        .args(["check", "--config"])
        .arg(world.write_config());
    command.args(more).output().unwrap()
}

#[track_caller]
fn warns(world: &World, expected: &str) {
    let output = check(world, &[]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.contains(&format!("warning: {expected}")),
        "no {expected:?} in\n{stdout}"
    );
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    // `serve` reports the same as `check`.
    let aegis = world.start();
    aegis.logged(&["WARN", expected]);
}

fn server(pki: &Pki, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Certified {
    pki.client_with(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(params);
    })
}

#[test]
fn check_warns_of_certificates_that_expire_soon() {
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let lives = |since: Duration, until: Duration| {
        let world = World::new();
        let certificate = server(&world.pki, |params| {
            params.not_before = (now - since).into();
            params.not_after = (now + until).into();
        });
        certificate.write(world.folder.path(), "server");
        world
    };
    warns(
        &lives(300 * day, 29 * day),
        "the server certificate (CN=leaf) expires at ",
    );
    warns(
        &lives(20 * day, 8 * day),
        "the server certificate (CN=leaf) expires at ",
    );
    let told = check(&lives(20 * day, 8 * day), &[]).stdout;
    let told = String::from_utf8(told).unwrap();
    let remedy = "Z; renew it before then, because scrapes fail after it\n";
    assert!(told.contains(remedy), "{told}");
    for (since, until) in [(300 * day, 31 * day), (10 * day, 18 * day)] {
        let output = check(&lives(since, until), &["--strict"]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn check_warns_of_a_crl_that_expires_soon() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let crl = world
        .pki
        .crl_revoking(&world.pki.client(), Duration::from_secs(12 * 3600));
    std::fs::write(world.path("crl.pem"), crl).unwrap();
    warns(&world, "the CRL of CN=aegis test CA expires at ");
    let told = String::from_utf8(check(&world, &[]).stdout).unwrap();
    let remedy =
        "Z; renew it before then, because aegis refuses every certificate of that CA after it\n";
    assert!(told.contains(remedy), "{told}");
}

#[test]
fn check_warns_of_a_broken_server_chain() {
    let world = World::new();
    let server = world
        .pki
        .server()
        .with_chain([Pki::named("a stranger").ca_der()]);
    server.write(world.folder.path(), "server");
    let file = world.path("server.pem").display().to_string();
    warns(&world, &format!("{file}: the certificates are not a chain"));
}

#[test]
fn check_warns_of_a_server_certificate_that_scrapers_cannot_verify() {
    let world = World::new();
    let certificate = server(&world.pki, |params| {
        params.subject_alt_names = vec![ip("192.0.2.1")]
    });
    certificate.write(world.folder.path(), "server");
    warns(
        &world,
        "the server certificate has neither a DNS name nor 127.0.0.1 among its names",
    );
}

#[test]
fn check_warns_of_a_server_certificate_without_server_auth() {
    let world = World::new();
    let certificate = server(&world.pki, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    certificate.write(world.folder.path(), "server");
    warns(&world, "the server certificate is not for servers");
    for usages in [vec![ExtendedKeyUsagePurpose::Any], Vec::new()] {
        let certificate = server(&world.pki, |params| params.extended_key_usages = usages);
        certificate.write(world.folder.path(), "server");
        assert_eq!(check(&world, &["--strict"]).status.code(), Some(0));
    }
}

#[test]
fn check_warns_of_files_that_every_user_can_misuse() {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"\nadmin_socket_mode = \"0606\"".to_owned();
    warns(&world, "admin_socket_mode: 0606 lets every user");
    world.settings.top = "admin_socket = \"admin.sock\"\nadmin_socket_mode = \"0660\"".to_owned();
    let config = world.write_config();
    assert_eq!(check(&world, &["--strict"]).status.code(), Some(0));
    std::fs::set_permissions(&config, Permissions::from_mode(0o666)).unwrap();
    let file = config.display();
    warns(
        &world,
        &format!("{file}: every user of this host can write it"),
    );
}

#[test]
fn check_warns_of_files_that_look_like_services() {
    let mut world = World::new();
    world.settings.rest = format!(
        "[services.away]\nsocket = {:?}\n[services.gone]\n[services.foreign]\nowner = 4294967\n",
        world.path("away.socket")
    );
    let _away = Service::answering(&world.path("away.socket"), Vec::new());
    let _services = ["node", "foreign", "linked"].map(|name| world.service(name, answer("up 1\n")));
    world.disown("foreign");
    std::fs::hard_link(world.socket("linked"), world.socket("second")).unwrap();
    symlink("node.sock", world.socket("link")).unwrap();
    std::fs::write(world.socket("file"), "").unwrap();
    std::fs::create_dir(world.socket("folder")).unwrap();
    for (name, reason) in [
        (
            "file",
            "not_a_socket: the file with the socket's name is not a socket",
        ),
        ("folder", "not_a_socket: "),
        ("foreign", "owner: "),
        ("link", "escapes: "),
        ("linked", "escapes: "),
        ("second", "escapes: "),
    ] {
        let socket = world.socket(name).display().to_string();
        let start = format!("{name}: {socket}, unusable, stage=upstream reason={reason}");
        warns(&world, &start);
    }
    let gone = world.socket("gone").display().to_string();
    let stdout = String::from_utf8(check(&world, &[]).stdout).unwrap();
    let gone = format!("warning: services.gone: {gone} does not exist; start the service");
    assert!(stdout.contains(&gone), "{stdout}");
    assert_eq!(stdout.matches("warning: ").count(), 7, "{stdout}");
    world.settings.rest += "[services.\"app.sock\"]\n";
    let stdout = String::from_utf8(check(&world, &[]).stdout).unwrap();
    let expected = "app.sock.sock does not exist; names are without .sock, so write [services.app] if its file is app.sock\n";
    assert!(stdout.contains(expected), "{stdout}");
    // Sockets in other directories and missing ones are not counted.
    assert!(stdout.contains("and 7 sockets in "), "{stdout}");
    for number in 0..20 {
        std::fs::write(world.socket(&format!("x{number}")), "").unwrap();
    }
    let stdout = String::from_utf8(check(&world, &[]).stdout).unwrap();
    assert_eq!(stdout.matches(", unusable, ").count(), 10, "{stdout}");
    assert!(
        stdout.contains("warning: 16 more sockets in the directory are unusable"),
        "{stdout}"
    );
}

#[test]
fn check_warns_of_a_socket_that_the_user_may_not_write_to() {
    let mut world = World::new();
    let away = world.path("away.socket");
    world.settings.rest = format!("[services.away]\nsocket = {away:?}\n");
    let _away = Service::answering(&away, Vec::new());
    let _services = ["node", "closed"].map(|name| world.service(name, answer("up 1\n")));
    for socket in [&away, &world.socket("closed")] {
        std::fs::set_permissions(socket, Permissions::from_mode(0o500)).unwrap();
    }
    let output = world.command_without_privilege("check").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    let closed = world.socket("closed").display().to_string();
    let expected = [
        format!("warning: closed: {closed}, unusable, stage=upstream reason=permission: "),
        format!(
            "warning: services.away: {}, unusable, reason=permission: ",
            away.display()
        ),
        "with mode 0500; give a group of aegis write access to it)".to_owned(),
    ];
    for expected in expected {
        assert!(stdout.contains(&expected), "no {expected:?} in\n{stdout}");
    }
    assert_eq!(stdout.matches("warning: ").count(), 2, "{stdout}");
}

#[test]
fn check_warns_of_limits_that_have_no_effect() {
    let mut world = World::new();
    world.settings.limits =
        "connections = 8\nconnections_per_address = 8\nscrape_timeout = \"5m\"".to_owned();
    assert_eq!(check(&world, &["--strict"]).status.code(), Some(0));
    world.settings.limits = "connections = 8\nconnections_per_address = 9".to_owned();
    warns(
        &world,
        "limits.connections_per_address: 9 exceeds connections (8)",
    );
    world.settings.limits = "scrape_timeout = \"10m\"\nscrape_timeout_max = \"1s\"".to_owned();
    warns(
        &world,
        "limits.scrape_timeout: 600s exceeds scrape_timeout_max (1s)",
    );
}

/// Asserts an error of both `aegis check` and `aegis serve`, with exit code 78.
#[track_caller]
fn both_refuse(world: &World, expected: &str) {
    let config = world.write_config();
    for ask in ["check", "serve"] {
        let mut command = command();
        let output = command.args([ask, "--config"]).arg(&config).output();
        let output = output.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{ask}: {stderr}");
        assert!(
            stderr.contains(expected),
            "{ask}: no {expected:?} in\n{stderr}"
        );
    }
}

#[test]
fn an_impossible_admin_socket_is_a_configuration_error() {
    let mut world = World::new();
    std::fs::write(world.path("file"), "somebody's").unwrap();
    let long = "l".repeat(108);
    for (socket, expected) in [
        ("absent/a.sock", "absent is not a directory; create it"),
        ("file/a.sock", "file is not a directory; create it"),
        ("file", "file exists and is not a socket; remove it"),
        ("services", "services exists and is not a socket; remove it"),
        (&long, "is too long for a socket; the maximum is "),
    ] {
        world.settings.top = format!("admin_socket = {socket:?}");
        both_refuse(&world, expected);
    }
    assert_eq!(std::fs::read(world.path("file")).unwrap(), b"somebody's");
    // The unit may create a directory below /run, so its absence is only a warning.
    world.settings.top = "admin_socket = \"/run/aegis-absent/a.sock\"".to_owned();
    let output = check(&world, &[]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    let warning =
        "warning: admin_socket: /run/aegis-absent does not exist yet; the unit must create it";
    assert!(stdout.contains(warning), "{stdout}");
}

#[test]
fn check_warns_of_a_directory_in_which_the_user_may_not_create_the_admin_socket() {
    let mut world = World::new();
    let folder = world.path("closed");
    std::fs::create_dir(&folder).unwrap();
    world.settings.top = "admin_socket = \"closed/a.sock\"".to_owned();
    for (mode, is_warned_of) in [(0o500, true), (0o600, true), (0o300, false)] {
        std::fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        let output = world.command_without_privilege("check").output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let expected = format!(
            "warning: admin_socket: aegis's user may not create files in {}; use the RuntimeDirectory=",
            folder.display()
        );
        assert_eq!(
            stdout.contains(&expected),
            is_warned_of,
            "{mode:o} {stdout}"
        );
        assert_eq!(output.status.code(), Some(0), "{stdout}");
    }
}

#[test]
fn a_duplicate_listen_address_is_a_configuration_error() {
    let mut world = World::new();
    let twice = |entry: &str| format!("[{entry:?}, \"127.0.0.1:0\", {entry:?}, \"127.0.0.1:0\"]");
    for entry in ["127.0.0.1:31337", "systemd", "systemd:a"] {
        world.settings.listen = twice(entry);
        both_refuse(&world, &format!("listen: \"{entry}\" is listed twice"));
    }
}

#[test]
fn check_warns_of_entries_that_can_match_nothing() {
    let mut world = World::new();
    let name = r#""dns:a.example""#;
    world.settings.allow = allow(r#""fd00::/8""#, name, r#""*""#)
        + &allow(r#""127.0.0.1""#, name, r#""absent", "node", "metrics""#);
    let _service = world.service("node", answer("up 1\n"));
    let config = world.write_config().display().to_string();
    warns(
        &world,
        &format!("{config}:9: allow[0].networks: aegis listens on no address of that family"),
    );
    warns(
        &world,
        &format!("{config}:13: allow[1].services: absent has no socket now"),
    );
    let stdout = String::from_utf8(check(&world, &[]).stdout).unwrap();
    assert_eq!(stdout.matches("warning: ").count(), 2, "{stdout}");
}

#[test]
fn warnings_fail_check_only_with_strict() {
    let mut world = World::new();
    assert_eq!(check(&world, &["--strict"]).status.code(), Some(0));
    world.settings.allow = allow(r#""0.0.0.0/0""#, r#""*""#, r#""*""#);
    assert_eq!(check(&world, &[]).status.code(), Some(0));
    let strict = check(&world, &["--strict"]);
    assert_eq!(strict.status.code(), Some(78));
    let stdout = String::from_utf8(strict.stdout).unwrap();
    assert!(
        stdout.contains("\nnot ok: ") && !stdout.contains("\nok: "),
        "{stdout}"
    );
    let report = check(&world, &["--strict", "--format", "json"]).stdout;
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["ok"], false);
}

#[test]
fn the_json_report_of_check_is_one_object() {
    let mut world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let report = |world: &World| {
        let output = check(world, &["--format", "json"]);
        assert!(output.stderr.is_empty());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report)
    };
    let (code, good) = report(&world);
    assert_eq!((code, &good["ok"]), (Some(0), &Value::Bool(true)));
    assert_eq!(good["listen"][0], "127.0.0.1:0");
    assert_eq!(
        (&good["allow_entries"], &good["services"]),
        (&1.into(), &1.into())
    );

    world.settings.limits = "connections = 0".to_owned();
    let (code, bad) = report(&world);
    assert_eq!((code, &bad["ok"]), (Some(78), &Value::Bool(false)));
    let error = &bad["errors"][0];
    assert_eq!(error["key"], "limits.connections");
    assert!(
        error["at"].as_str().unwrap().ends_with("aegis.toml:15"),
        "{error}"
    );
    assert!(
        error["problem"]
            .as_str()
            .unwrap()
            .contains("is not a whole number"),
        "{error}"
    );
}
