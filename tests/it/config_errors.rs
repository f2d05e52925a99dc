//! All errors of a configuration are reported at once, each with its file, line, key and remedy.

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
owner = "no-such-user"
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

/// The line and the start of each error of [`BROKEN`].
const ERRORS: &[(usize, &str)] = &[
    (
        1,
        "listen[0]: \"nowhere\" is not an address with a port; write",
    ),
    (1, "listen[1]: is a number, but must be a string"),
    (
        2,
        "sockets: unknown key; the keys here are admin_socket, admin_socket_mode, advertise, allow, forget_after, limits, listen, log, sandbox, services, socket_dir, tls, unsafe_no_sandbox",
    ),
    (4, "tls.cert_file: is a number, but must be a string"),
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
        "allow[0].identities: is empty, so the entry matches no client",
    ),
    (
        9,
        "allow[0].services[0]: \"../x\" is not a service pattern; write",
    ),
    (
        10,
        "allow[1].services: is not set, so the entry matches no client; list at least one under services",
    ),
    (
        12,
        "allow[1].identities[0]: \"prometheus\" does not say what kind of name it is; write dns:",
    ),
    (14, "services.metrics: is the name of aegis's own metrics"),
    (
        16,
        "services.node.owner: user \"no-such-user\" does not exist; create it",
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
        "limits.idle_timeout: is a number, but must be a duration in quotes and with its unit, such as \"10s\"",
    ),
    (24, "limits.request_head: \"1GiB\" is out of range"),
    (
        26,
        "log.level: \"loud\" is not one of error, warn, info, debug",
    ),
    (
        20,
        "services.node.labels.team: is a number, but must be a string",
    ),
    (20, "services.node.labels.1st: is not a label name"),
    (20, "services.node.labels.__name__: is not a label name"),
];

#[test]
fn all_errors_are_reported_at_once_with_line_and_key() {
    let world = World::new();
    std::fs::write(world.path("bad.toml"), BROKEN).unwrap();
    let path = world.path("bad.toml");
    let output = run(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let at = |line: usize| format!("aegis: {}:{line}: ", path.display());
    for (line, problem) in ERRORS {
        let whole = at(*line) + problem;
        assert!(stderr.contains(&whole), "no {whole:?} in\n{stderr}");
    }
    let missing = at(3)
        + "tls.key_file: is not set and has no default; write key_file under [tls], or give --tls-key";
    assert!(stderr.contains(&missing), "{stderr}");
    assert!(
        stderr.contains("services.\"..\": \"..\" is not a service name"),
        "{stderr}"
    );
    assert!(
        stderr.trim_end().ends_with("errors in the configuration"),
        "{stderr}"
    );
}

/// The output of `aegis check` for a world's configuration, which must be invalid.
fn check_errors(world: &World) -> String {
    let config = world.write_config();
    let output = run(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_value_of_the_wrong_type_is_reported_with_the_expected_one() {
    let mut world = World::new();
    for (written, expected) in [
        (
            "handshakes = 1.5",
            "handshakes: is a fraction, but must be a whole number",
        ),
        (
            "connections = true",
            "connections: is a boolean, but must be a whole number",
        ),
        (
            "head_timeout = 10",
            "head_timeout: is a number, but must be a duration in quotes and with its unit, such as \"10s\"",
        ),
        (
            "response_body = 1.5",
            "response_body: is a fraction, but must be a size, such as \"16KiB\" or a number of bytes",
        ),
        (
            "[services.a]\nowner = true",
            "owner: is a boolean, but must be a uid or the name of a user",
        ),
        (
            "[services.a]\ntimeout = 5",
            "timeout: is a number, but must be a duration in quotes",
        ),
    ] {
        world.settings.limits = written.to_owned();
        let output = check_errors(&world);
        assert!(output.contains(expected), "no {expected:?} in\n{output}");
    }
}

#[test]
fn a_duplicate_key_is_reported() {
    let mut world = World::new();
    world.settings.rest = "[log]\nlevel = \"info\"\n\"level\" = \"warn\"".to_owned();
    let output = check_errors(&world);
    let expected = "aegis.toml:18: is not TOML: duplicate key \"level\"; remove one\n";
    assert!(output.contains(expected), "{output}");
    world.settings.rest = "[log]\n[log]".to_owned();
    let output = check_errors(&world);
    assert!(
        output.contains("is not TOML: duplicate key log; remove one\n"),
        "{output}"
    );
}

#[test]
fn a_missing_key_is_reported_with_the_file_that_was_read() {
    let world = World::new();
    let path = world.path("empty.toml");
    std::fs::write(&path, "").unwrap();
    let output = run(&["check", "--config", path.to_str().unwrap()]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let file = path.display();
    assert!(
        stderr.contains(&format!("aegis: {file}: tls.cert_file: is not set")),
        "{stderr}"
    );
    assert!(
        stderr.contains(&format!(
            "aegis: {file}: allow: there is no [[allow]] entry"
        )),
        "{stderr}"
    );
    assert!(!stderr.contains("no configuration file"), "{stderr}");
}

#[test]
fn an_unreadable_file_is_reported_with_a_remedy() {
    let world = World::new();
    let key = world.path("server.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o000)).unwrap();
    let mut check = world.command_without_privilege("check");
    let stderr = String::from_utf8(check.output().unwrap().stderr).unwrap();
    let expected = "server.key cannot be read: Permission denied (os error 13); make it readable by aegis's user\n";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn an_error_in_a_variable_is_reported_with_its_name() {
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
    let stderr = String::from_utf8(check.output().unwrap().stderr).unwrap();
    for expected in [
        "AEGIS_LISTEN: listen[0]: \"nowhere\" is not",
        "AEGIS_TLS_CERT: tls.cert_file: is empty",
        "AEGIS_ALLOW_NETWORK: allow[0].networks[0]: ",
        "AEGIS_ALLOW_IDENTITY: allow[0].identities[0]: ",
    ] {
        assert!(stderr.contains(&format!("aegis: {expected}")), "{stderr}");
    }
    assert!(!stderr.contains("AEGIS_TLS_KEY"), "{stderr}");
    let unread = command()
        .arg("check")
        .env("AEGIS_CONFIG", "absent.toml")
        .output();
    let stderr = String::from_utf8(unread.unwrap().stderr).unwrap();
    assert!(
        stderr.starts_with("aegis: AEGIS_CONFIG: /")
            && stderr.contains("/absent.toml cannot be read: "),
        "{stderr}"
    );
}

#[test]
fn files_of_an_invalid_configuration_are_checked_too() {
    let mut world = World::new();
    world.settings.top = "foo = 1\nadmin_socket = \"services\"".to_owned();
    world.settings.allow = allow(r#""1.2.3.4/8""#, r#""*""#, r#""*""#);
    std::fs::remove_file(world.path("ca.pem")).unwrap();
    let config = world.write_config();
    let stderr_of = |subcommand| {
        let mut command = command();
        command.args([subcommand, "--socket-dir", "nodir", "--config"]);
        let output = command.arg(&config).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        String::from_utf8(output.stderr).unwrap()
    };
    let check = stderr_of("check");
    for expected in [
        "foo: unknown key",
        "allow[0].networks[0]: \"1.2.3.4/8\" has bits set",
        "/nodir cannot be opened: No such file",
        "tls.client_ca_file: ",
        "services exists and is not a socket",
        "aegis: 5 errors in the configuration",
    ] {
        assert!(check.contains(expected), "no {expected:?} in\n{check}");
    }
    assert_eq!(stderr_of("serve"), check);
    std::fs::write(world.path("ca.pem"), world.pki.ca_pem()).unwrap();
    let other = Pki::new().server().key.serialize_pem();
    std::fs::write(world.path("server.key"), other).unwrap();
    let check = stderr_of("check");
    assert!(
        check.contains("server.key is not the key of the certificate"),
        "{check}"
    );
}

#[test]
fn an_unparsable_file_has_no_missing_keys_reported() {
    let world = World::new();
    let path = world.path("aegis.yaml");
    std::fs::write(&path, "listen:\n  - 127.0.0.1:31337\nfoo: 1\n").unwrap();
    let output = run(&["check", "--config", path.to_str().unwrap()]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    let mut lines: Vec<&str> = stderr.lines().collect();
    assert!(
        lines.pop().unwrap().contains("in the configuration"),
        "{stderr}"
    );
    assert!(!lines.is_empty());
    for line in lines {
        assert!(line.contains(": is not TOML: "), "{stderr}");
    }
}
