//! `aegis services` lists the services, who may scrape them, and whether they answer.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Output;

use serde_json::Value;

use crate::harness::aegis::command;
use crate::harness::service::until_closed;
use crate::harness::{Service, World, allow, answer};

fn services(world: &World, arguments: &[&str]) -> Output {
    let config = world.write_config();
    let mut command = command();
    command.args(["services", "--config"]).arg(config);
    command.args(arguments).output().unwrap()
}

/// The lines of the report, without the path of the test's folder.
fn report(world: &World, arguments: &[&str], code: i32) -> Vec<String> {
    let output = services(world, arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}{stderr}");
    let folder = format!("{}/", world.folder.path().display());
    let text = text.replace(&folder, "");
    text.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn services_are_listed_with_their_sockets_owners_and_grants() {
    let mut world = World::new();
    let entry = |services| allow(r#""10.0.0.1""#, r#""dns:a.org""#, services);
    world.settings.allow = entry(r#""team-*""#) + &entry(r#""node""#) + &entry(r#""team-a""#);
    world.settings.rest = format!(
        "[services.away]\nsocket = {:?}\n[services.gone]\n[services.foreign]\nowner = 4294967\nlabels = {{ team = \"web\" }}\n",
        world.path("away.socket")
    );
    let _away = Service::answering(&world.path("away.socket"), Vec::new());
    let _services = ["node", "team-a", "foreign"].map(|name| world.service(name, answer("up 1\n")));
    symlink("node.sock", world.socket("team-link")).unwrap();
    // A user who may list the sockets may not be able to read the key.
    std::fs::remove_file(world.path("server.key")).unwrap();
    let uid = rustix::process::getuid().as_raw();
    let owner = format!("uid {uid}");
    let foreign = format!("uid {} owns", world.disown("foreign"));
    let lines = report(&world, &[], 0);
    let expected = [
        ["away: away.socket, owner ", &owner, ", granted by no entry"],
        [
            "foreign: services/foreign.sock, unusable, stage=upstream reason=owner: ",
            &foreign,
            ", granted by no entry, team=\"web\"",
        ],
        [
            "gone: services/gone.sock, missing",
            "",
            ", granted by no entry",
        ],
        [
            "node: services/node.sock, owner ",
            &owner,
            ", granted by allow[1]",
        ],
        [
            "team-a: services/team-a.sock, owner ",
            &owner,
            ", granted by allow[0], allow[2]",
        ],
        [
            "team-link: services/team-link.sock, unusable, stage=upstream reason=escapes: ",
            "",
            ", granted by allow[0]",
        ],
    ];
    for (line, [start, middle, end]) in lines.iter().zip(&expected) {
        assert!(line.starts_with(start), "{line}");
        assert!(line.contains(middle), "{line}");
        assert!(line.ends_with(end), "{line}");
    }
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
}

#[test]
fn sockets_with_invalid_names_are_listed_with_the_reason() {
    let world = World::new();
    for name in ["metrics", "-x", "a b"] {
        drop(UnixListener::bind(world.socket(name)).unwrap());
    }
    let unusable = report(&world, &["--probe"], 0);
    assert_eq!(unusable.len(), 3, "{unusable:?}");
    for name in [
        "-x.sock: is not a service name",
        "a b.sock: is not a service name",
        "metrics.sock: the name is reserved",
    ] {
        let start = format!("unusable: {name}");
        assert!(
            unusable.iter().any(|line| line.starts_with(&start)),
            "{unusable:?}"
        );
    }
}

#[test]
fn a_probe_reports_what_a_scrape_would() {
    let mut world = World::new();
    world.settings.rest = "[services.good]\npath = \"/own\"\n".to_owned();
    let good = world.service("good", answer("up 1\n"));
    let lines = report(&world, &["--probe"], 0);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("; probe: status 200, 5 bytes in 0."),
        "{lines:?}"
    );
    assert!(good.requests()[0].starts_with("GET /own HTTP/1.1\r\n"));

    world.settings.rest = "[services.hung]\ntimeout = \"300ms\"\n".to_owned();
    let oops = "HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nsecret";
    let _oops = world.service("oops", oops);
    let _hung = Service::with(&world.socket("hung"), until_closed);
    drop(UnixListener::bind(world.socket("dead")).unwrap());
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n";
    let _cut = world.service("cut", chunked);
    std::fs::write(world.socket("file"), "").unwrap();
    let lines = report(&world, &["--probe"], 1);
    let expected = [
        ("cut: ", "; probe failed: stage=respond reason=hung_up: "),
        ("dead: ", "; probe failed: stage=upstream reason=connect: "),
        (
            "file: ",
            "; probe failed: stage=upstream reason=not_a_socket: ",
        ),
        ("good: ", "; probe: status 200, 5 bytes in 0."),
        ("hung: ", "; probe failed: stage=respond reason=timeout: "),
        (
            "oops: ",
            "; probe failed: stage=respond reason=status: the service did not answer with status 200 (status 500)",
        ),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, (start, output)) in lines.iter().zip(expected) {
        assert!(line.starts_with(start) && line.contains(output), "{line}");
    }
}

#[test]
fn without_probe_no_service_is_contacted() {
    let world = World::new();
    let service = world.service("node", answer("up 1\n"));
    assert_eq!(report(&world, &[], 0).len(), 1);
    assert_eq!(service.connections(), 0);
}

#[test]
fn services_reports_a_missing_socket_directory() {
    let world = World::new();
    let output = services(&world, &["--socket-dir", "/nowhere"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert!(stderr.contains("/nowhere cannot be opened"), "{stderr}");
    assert_eq!(services(&world, &["--what"]).status.code(), Some(2));
}

#[test]
fn the_list_is_also_one_json_object() {
    let mut world = World::new();
    world.settings.rest = "[services.gone]\nlabels = { team = \"a\" }\n".to_owned();
    let _node = world.service("node", answer("up 1\n"));
    drop(UnixListener::bind(world.socket("dead")).unwrap());
    drop(UnixListener::bind(world.socket("a b")).unwrap());
    let uid = rustix::process::geteuid().as_raw();
    let list = |flags: &[&str], code| {
        let lines = report(&world, &[&["--format", "json"], flags].concat(), code);
        serde_json::from_str::<Value>(&lines.concat()).unwrap()
    };
    let all = list(&[], 0);
    let named = |list: &Value, name: &str| {
        let services = list["services"].as_array().unwrap().iter();
        services
            .clone()
            .find(|service| service["service"] == name)
            .unwrap()
            .clone()
    };
    let node = named(&all, "node");
    assert_eq!(node["socket"], "services/node.sock");
    assert_eq!(
        (&node["state"], &node["uid"]),
        (&"present".into(), &uid.into())
    );
    assert_eq!(
        (&node["entries"], &node["probe"]),
        (&vec![0].into(), &Value::Null)
    );
    let gone = named(&all, "gone");
    assert_eq!(
        (&gone["state"], &gone["labels"]["team"]),
        (&"missing".into(), &"a".into())
    );
    assert_eq!(gone["problem"]["reason"], "missing");
    assert!(
        all["unusable"][0]
            .as_str()
            .unwrap()
            .starts_with("a b.sock: "),
        "{all}"
    );

    let probed = list(&["--probe"], 1);
    let node = named(&probed, "node");
    assert_eq!(
        (&node["probe"]["ok"], &node["probe"]["bytes"]),
        (&true.into(), &5.into())
    );
    let dead = named(&probed, "dead");
    assert_eq!(dead["probe"]["problem"]["stage"], "upstream");
    assert_eq!(dead["probe"]["problem"]["reason"], "connect");
}

#[test]
fn a_list_for_prometheus_cannot_be_probed() {
    let world = World::new();
    let output = services(&world, &["--probe", "--format", "sd"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        stderr,
        "aegis: --probe works with --format text and json only\n"
    );
}
