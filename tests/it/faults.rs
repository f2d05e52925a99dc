//! Every fault of a configuration is said at once, each with its file, line, key and remedy.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::aegis::{command, run};
use crate::harness::{Pki, World, allow};

const BROKEN: &str = r#"listen = ["nowhere", 7]
sockets = "x"
[tls]
cert_file = 5
min_version = "1.1"
[[allow]]
networks = ["10.0.0.1/24", "localhost"]
identities = []
services = ["../x"]
[[allow]]
networks = ["10.0.0.0/8"]
identities = ["prometheus"]
[services."..".params]
[services.metrics]
[services.node]
owner = "nobody-of-that-name"
timeout = "soon"
max_body = "1 apple"
path = "metrics"
labels = { team = 1, "1st" = "x", __name__ = "x" }
[limits]
connections = 0
idle_timeout = 5
request_head = "1GiB"
[log]
level = "loud"
"#;

/// The line and the start of each fault of [`BROKEN`].
const FAULTS: &[(usize, &str)] = &[
    (
        1,
        "listen[0]: \"nowhere\" is not an address with a port; write",
    ),
    (1, "listen[1]: must be a string, but is a number"),
    (
        2,
        "sockets: unknown key; the keys here are admin_socket, admin_socket_mode, advertise, allow, limits, listen, log, sandbox, services, socket_dir, tls, unsafe_no_sandbox",
    ),
    (4, "tls.cert_file: must be a string, but is a number"),
    (5, "tls.min_version: \"1.1\" is not one of 1.3, 1.2"),
    (
        7,
        "allow[0].networks[0]: \"10.0.0.1/24\" has bits set beyond its prefix; write 10.0.0.0/24",
    ),
    (
        7,
        "allow[0].networks[1]: \"localhost\" is not a network; write",
    ),
    (
        8,
        "allow[0].identities: is empty, so that the entry matches nobody",
    ),
    (
        9,
        "allow[0].services[0]: \"../x\" is not a service pattern; write",
    ),
    (
        10,
        "allow[1].services: is not set, so that the entry matches nobody",
    ),
    (
        12,
        "allow[1].identities[0]: \"prometheus\" does not say what kind of name it is; write dns:",
    ),
    (14, "services.metrics: is the name of aegis's own metrics"),
    (
        16,
        "services.node.owner: there is no user \"nobody-of-that-name\" here; create it",
    ),
    (17, "services.node.timeout: \"soon\" is not a duration"),
    (
        18,
        "services.node.max_body: \"1 apple\" is not a size; write",
    ),
    (
        19,
        "services.node.path: \"metrics\" is not a path; write it as /metrics",
    ),
    (
        22,
        "limits.connections: \"0\" is not a whole number from 1 to",
    ),
    (
        23,
        "limits.idle_timeout: must be a duration in quotes and with its unit, such as \"10s\", but is a number",
    ),
    (24, "limits.request_head: \"1GiB\" is out of range"),
    (
        26,
        "log.level: \"loud\" is not one of error, warn, info, debug",
    ),
    (
        20,
        "services.node.labels.team: must be a string, but is a number",
    ),
    (20, "services.node.labels.1st: is not a label name"),
    (20, "services.node.labels.__name__: is not a label name"),
];

#[test]
fn every_fault_is_said_at_once_with_its_line_and_key() {
    let world = World::new();
    std::fs::write(world.path("bad.toml"), BROKEN).unwrap();
    let path = world.path("bad.toml");
    let output = run(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    let at = |line: usize| format!("aegis: {}:{line}: ", path.display());
    for (line, problem) in FAULTS {
        let whole = at(*line) + problem;
        assert!(said.contains(&whole), "no {whole:?} in\n{said}");
    }
    let missing = at(3)
        + "tls.key_file: is not set and has no default; write key_file under [tls], or give --tls-key";
    assert!(said.contains(&missing), "{said}");
    assert!(
        said.contains("services.\"..\": \"..\" is not a service name"),
        "{said}"
    );
    assert!(
        said.trim_end().ends_with("errors in the configuration"),
        "{said}"
    );
}

/// What `aegis check` says of a world's configuration, which must be faulty.
fn faults(world: &World) -> String {
    let config = world.write_config();
    let output = run(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_value_of_another_kind_is_told_what_the_key_takes() {
    let mut world = World::new();
    for (written, expected) in [
        (
            "handshakes = 1.5",
            "handshakes: must be a whole number, but is a fraction",
        ),
        (
            "connections = true",
            "connections: must be a whole number, but is a boolean",
        ),
        (
            "head_timeout = 10",
            "head_timeout: must be a duration in quotes and with its unit, such as \"10s\", but is a number",
        ),
        (
            "response_body = 1.5",
            "response_body: must be a size, such as \"16KiB\" or a number of bytes, but is a fraction",
        ),
        (
            "[services.a]\nowner = true",
            "owner: must be a uid or the name of a user, but is a boolean",
        ),
        (
            "[services.a]\ntimeout = 5",
            "timeout: must be a duration in quotes",
        ),
    ] {
        world.settings.limits = written.to_owned();
        let said = faults(&world);
        assert!(said.contains(expected), "no {expected:?} in\n{said}");
    }
}

#[test]
fn a_key_that_stands_twice_is_named() {
    let mut world = World::new();
    world.settings.rest = "[log]\nlevel = \"info\"\n\"level\" = \"warn\"".to_owned();
    let said = faults(&world);
    let expected = "aegis.toml:18: is not TOML: duplicate key \"level\"; take one out\n";
    assert!(said.contains(expected), "{said}");
    world.settings.rest = "[log]\n[log]".to_owned();
    let said = faults(&world);
    assert!(
        said.contains("is not TOML: duplicate key log; take one out\n"),
        "{said}"
    );
}

#[test]
fn what_is_missing_is_missing_in_the_file_that_was_read() {
    let world = World::new();
    let path = world.path("empty.toml");
    std::fs::write(&path, "").unwrap();
    let output = run(&["check", "--config", path.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    let file = path.display();
    assert!(
        said.contains(&format!("aegis: {file}: tls.cert_file: is not set")),
        "{said}"
    );
    assert!(
        said.contains(&format!(
            "aegis: {file}: allow: there is no [[allow]] entry"
        )),
        "{said}"
    );
    assert!(!said.contains("no file was read"), "{said}");
}

#[test]
fn a_file_that_aegis_may_not_read_is_said_with_what_to_do() {
    let world = World::new();
    let key = world.path("server.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o000)).unwrap();
    let mut check = world.command_without_privilege("check");
    let said = String::from_utf8(check.output().unwrap().stderr).unwrap();
    let expected =
        "server.key cannot be read: Permission denied (os error 13); let aegis's user read it\n";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_fault_of_a_variable_is_said_by_the_name_of_the_variable() {
    let world = World::new();
    let config = world.write_config();
    let mut check = command();
    check.args(["check", "--tls-key", "absent.key", "--config"]);
    check.arg(config).envs([
        ("AEGIS_LISTEN", "nowhere"),
        ("AEGIS_TLS_CERT", ""),
        ("AEGIS_TLS_KEY", "overridden"),
        ("AEGIS_ALLOW_NETWORK", "10.0.0.1/8"),
        ("AEGIS_ALLOW_IDENTITY", "prometheus"),
    ]);
    let said = String::from_utf8(check.output().unwrap().stderr).unwrap();
    for expected in [
        "AEGIS_LISTEN: listen[0]: \"nowhere\" is not",
        "AEGIS_TLS_CERT: tls.cert_file: is empty",
        "AEGIS_ALLOW_NETWORK: allow[0].networks[0]: ",
        "AEGIS_ALLOW_IDENTITY: allow[0].identities[0]: ",
    ] {
        assert!(said.contains(&format!("aegis: {expected}")), "{said}");
    }
    assert!(!said.contains("AEGIS_TLS_KEY"), "{said}");
    let unread = command()
        .arg("check")
        .env("AEGIS_CONFIG", "absent.toml")
        .output();
    let said = String::from_utf8(unread.unwrap().stderr).unwrap();
    assert!(
        said.starts_with("aegis: AEGIS_CONFIG: /")
            && said.contains("/absent.toml cannot be read: "),
        "{said}"
    );
}

#[test]
fn the_files_of_a_faulty_configuration_are_looked_at_all_the_same() {
    let mut world = World::new();
    world.settings.top = "foo = 1\nadmin_socket = \"services\"".to_owned();
    world.settings.allow = allow(r#""1.2.3.4/8""#, r#""*""#, r#""*""#);
    std::fs::remove_file(world.path("ca.pem")).unwrap();
    let config = world.write_config();
    let said = |ask| {
        let mut command = command();
        command.args([ask, "--socket-dir", "nodir", "--config"]);
        let output = command.arg(&config).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        String::from_utf8(output.stderr).unwrap()
    };
    let check = said("check");
    for expected in [
        "foo: unknown key",
        "allow[0].networks[0]: \"1.2.3.4/8\" has bits set",
        "/nodir cannot be opened: No such file",
        "tls.client_ca_file: ",
        "services is there, and is no socket",
        "aegis: 5 errors in the configuration",
    ] {
        assert!(check.contains(expected), "no {expected:?} in\n{check}");
    }
    assert_eq!(said("serve"), check);
    std::fs::write(world.path("ca.pem"), world.pki.ca_pem()).unwrap();
    let other = Pki::new().server().key.serialize_pem();
    std::fs::write(world.path("server.key"), other).unwrap();
    let check = said("check");
    assert!(
        check.contains("server.key is not the key of the certificate"),
        "{check}"
    );
}

#[test]
fn nothing_is_said_to_be_missing_in_a_file_that_cannot_be_parsed() {
    let world = World::new();
    let path = world.path("aegis.yaml");
    std::fs::write(&path, "listen:\n  - 127.0.0.1:31337\nfoo: 1\n").unwrap();
    let output = run(&["check", "--config", path.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    let mut lines: Vec<&str> = said.lines().collect();
    assert!(
        lines.pop().unwrap().contains("in the configuration"),
        "{said}"
    );
    assert!(!lines.is_empty());
    for line in lines {
        assert!(line.contains(": is not TOML: "), "{said}");
    }
}
