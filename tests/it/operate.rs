//! `aegis status`, `aegis reload` and `aegis forget`, which ask a running aegis.

use std::os::unix::net::UnixListener;
use std::process::Output;

use serde_json::Value;

use crate::harness::aegis::{command, run};
use crate::harness::{World, answer};

fn world() -> World {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    world
}

fn operate(world: &World, arguments: &[&str]) -> Output {
    let mut operate = command();
    operate.args(arguments);
    operate.arg("--config").arg(world.path("aegis.toml"));
    operate.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn status_lists_failing_services_first_with_reason_and_remedy() {
    let world = world();
    let _good = world.service("app", answer("up 1\n"));
    drop(UnixListener::bind(world.socket("web")).unwrap());
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/app").status, 200);
    assert_eq!(scraper.get("/web").status, 502);
    let output = operate(&world, &["status"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    let host = rustix::system::uname();
    let host = host.nodename().to_str().unwrap();
    let first = format!("aegis {} on {host}, ", env!("CARGO_PKG_VERSION"));
    assert!(lines[0].starts_with(&first), "{text}");
    let heading = lines.iter().position(|line| line.starts_with("SERVICE "));
    let [failing, good] = lines[heading.unwrap() + 1..] else {
        panic!("{text}");
    };
    assert!(failing.starts_with("web      failing "), "{text}");
    let reason = "connect: nothing accepts connections on the socket (Connection refused";
    assert!(failing.contains(reason), "{text}");
    assert!(failing.contains("Start the service"), "{text}");
    assert!(failing.contains(" Failing since 2"), "{text}");
    let past = "; failures in the last hour: 1; last success: none.";
    assert!(failing.ends_with(past), "{text}");
    assert!(good.starts_with("app      up "), "{text}");
    assert!(good.ends_with(" 5 bytes"), "{text}");
    let json = operate(&world, &["status", "--format", "json"]);
    let status: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(status["services"].as_array().unwrap().len(), 2);
}

#[test]
fn reload_prints_the_faults_and_fails() {
    let mut world = world();
    let _aegis = world.start();
    let done = operate(&world, &["reload"]);
    assert_eq!(
        (done.status.code(), stdout(&done).as_str()),
        (Some(0), "reloaded\n")
    );
    world.settings.rest = "[services.node]\ncolour = \"red\"\n".to_owned();
    world.write_config();
    let failed = operate(&world, &["reload"]);
    assert_eq!(failed.status.code(), Some(1));
    let text = stderr(&failed);
    assert!(text.starts_with("aegis: not reloaded: "), "{text}");
    assert!(text.contains("services.node.colour"), "{text}");
    let status = stdout(&operate(&world, &["status"]));
    assert!(status.contains("\nreloads fail since 2"), "{status}");
    let json = operate(&world, &["reload", "--format", "json"]);
    assert_eq!(json.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["ok"], Value::Bool(false));
    assert!(report["messages"][1].as_str().unwrap().contains("colour"));
}

#[test]
fn forget_takes_only_a_service_whose_socket_is_gone() {
    let world = world();
    let node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    assert_eq!(world.prometheus(&aegis).get("/node").status, 200);
    let kept = operate(&world, &["forget", "node"]);
    assert_eq!(kept.status.code(), Some(1));
    assert_eq!(stderr(&kept), "aegis: not forgotten: its socket exists\n");
    drop(node);
    let status = stdout(&operate(&world, &["status"]));
    assert!(status.contains(" It is forgotten at 2"), "{status}");
    let forgotten = operate(&world, &["forget", "node"]);
    assert_eq!(
        (forgotten.status.code(), stdout(&forgotten).as_str()),
        (Some(0), "forgotten\n")
    );
    assert_eq!(world.prometheus(&aegis).get("/node").status, 404);
    assert_eq!(operate(&world, &["forget", "node"]).status.code(), Some(1));
    assert_eq!(
        operate(&world, &["forget", "../node"]).status.code(),
        Some(2)
    );
}

#[test]
fn without_an_admin_socket_the_command_says_what_to_set() {
    let world = World::new();
    world.write_config();
    for arguments in [&["status"][..], &["reload"], &["forget", "node"]] {
        let output = operate(&world, arguments);
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        let found = format!("{} sets none; ", world.path("aegis.toml").display());
        let problem = format!("aegis: no admin socket is configured: {found}");
        assert!(text.starts_with(&problem), "{text}");
    }
    let away = run(&["status", "--admin-socket", "/nonexistent/admin.sock"]);
    assert_eq!(away.status.code(), Some(1));
    assert!(stderr(&away).contains("no aegis answers on /nonexistent/admin.sock ("));
}
