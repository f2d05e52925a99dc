//! Every fault of a configuration is said at once, each with its file, line, key and remedy.

use crate::harness::World;
use crate::harness::aegis::run;

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
    (23, "limits.idle_timeout: must be a string, but is a number"),
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
    assert!(said.contains("tls.key_file: is not set and has no default; write key_file under [tls], or give --tls-key"), "{said}");
    assert!(
        said.contains("services.\"..\": \"..\" is not a service name"),
        "{said}"
    );
    assert!(
        said.trim_end().ends_with("errors in the configuration"),
        "{said}"
    );
}
