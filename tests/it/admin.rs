//! The admin socket, and `aegis health` which asks on it.

use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::aegis::{command, run};
use crate::harness::service::{read_head, until_closed};
use crate::harness::{Service, World, answer, operator};

fn world() -> (World, PathBuf) {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    let socket = world.path("admin.sock");
    (world, socket)
}

fn health(world: &World, arguments: &[&str]) -> Output {
    let mut health = command();
    health.args(["health", "--config"]);
    health.arg(world.path("aegis.toml")).args(arguments);
    health.output().unwrap()
}

#[test]
fn the_operator_is_answered_without_a_certificate_and_sees_everything() {
    let (world, socket) = world();
    let service = world.service("node", answer("up 1\n"));
    let _aegis = world.start();
    let get = |target| operator::ask(&socket, "GET", target, "");
    assert_eq!(get("/-/healthy").text(), "healthy\n");
    assert_eq!(get("/-/ready").text(), "ready\n");
    assert!(get("/metrics").text().contains("\naegis_services 1\n"));
    assert!(
        get("/-/sd")
            .text()
            .contains("\"__metrics_path__\":\"/node\"")
    );
    assert!(get("/").text().contains("node.sock"));
    // No scrape: nobody has granted anything here.
    assert_eq!(get("/node").status, 404);
    assert_eq!(service.connections(), 0);
    for (method, target, status) in [
        ("GET", "/-/reload", 400),
        ("POST", "/-/ready", 405),
        ("DELETE", "/", 405),
        ("GET", "/../x", 400),
    ] {
        assert_eq!(
            operator::ask(&socket, method, target, "").status,
            status,
            "{method} {target}"
        );
    }
    let allowed = operator::ask(&socket, "DELETE", "/", "");
    assert_eq!(allowed.header("Allow"), Some("GET, HEAD, POST"));
    let slip = operator::ask(&socket, "GET", "/-/reload", "").text();
    assert!(slip.starts_with("that takes POST; "), "{slip}");
    let slip = operator::ask(&socket, "GET", "/-/forget/node", "").text();
    assert!(slip.starts_with("that takes POST; "), "{slip}");
    let body = "Content-Length: 3\r\n";
    assert_eq!(
        operator::ask(&socket, "POST", "/-/reload", body).status,
        400
    );
}

#[test]
fn only_the_users_of_its_mode_can_open_it() {
    let (mut world, socket) = world();
    let mode = || std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    let aegis = world.start();
    assert_eq!(mode(), 0o600);
    drop(aegis);
    world.settings.top += "\nadmin_socket_mode = \"0660\"";
    let _aegis = world.start();
    assert_eq!(mode(), 0o660);
}

#[test]
fn a_reload_is_answered_with_what_became_of_it() {
    let (world, socket) = world();
    let aegis = world.start();
    let reload = || operator::ask(&socket, "POST", "/-/reload", "");
    assert_eq!(reload().text(), "reloaded\n");
    aegis.logged(&["reloaded"]);
    let good = std::fs::read(world.path("aegis.toml")).unwrap();
    std::fs::write(world.path("aegis.toml"), "listen = 1\n").unwrap();
    let broken = reload();
    assert_eq!(broken.status, 500);
    assert!(
        broken.text().starts_with("not reloaded: "),
        "{}",
        broken.text()
    );
    assert!(
        broken.text().contains("listen: must be a list"),
        "{}",
        broken.text()
    );
    // Whether it is well can still be asked.
    assert!(
        health(&world, &["--admin-socket", socket.to_str().unwrap()])
            .status
            .success()
    );
    std::fs::write(world.path("aegis.toml"), good).unwrap();
    assert_eq!(reload().text(), "reloaded\n");
}

#[test]
fn health_says_how_long_the_path_of_a_socket_may_be() {
    for (length, problem) in [
        (
            107,
            "does not answer: No such file or directory (os error 2)",
        ),
        (108, "is too long for a socket; at most 107 bytes fit"),
    ] {
        let path = format!("/{}", "x".repeat(length - 1));
        let output = run(&["health", "--admin-socket", &path]);
        assert_eq!(output.status.code(), Some(1), "{length}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("aegis: {path} {problem}\n"));
    }
}

#[test]
fn health_exits_by_what_a_running_aegis_says() {
    let (world, socket) = world();
    let mut aegis = world.start();
    for arguments in [&[][..], &["--ready"]] {
        let well = health(&world, arguments);
        assert_eq!(well.status.code(), Some(0));
    }
    std::fs::remove_dir(world.path("services")).unwrap();
    let unready = health(&world, &["--ready"]);
    assert_eq!(unready.status.code(), Some(1));
    let said = String::from_utf8(unready.stderr).unwrap();
    assert!(
        said.contains("not ready: the socket directory is not there"),
        "{said}"
    );
    assert_eq!(health(&world, &[]).status.code(), Some(0));
    aegis.signal(Signal::TERM);
    aegis.ended();
    let down = health(&world, &[]);
    assert_eq!(down.status.code(), Some(1));
    let said = String::from_utf8(down.stderr).unwrap();
    assert!(
        said.contains(&format!("{} does not answer: ", socket.display())),
        "{said}"
    );
}

#[test]
fn while_it_drains_the_operator_is_told_so() {
    let (mut world, socket) = world();
    world.settings.limits = "drain_timeout = \"1h\"\nscrape_timeout = \"1h\"".to_owned();
    let service = Service::with(&world.socket("held"), until_closed);
    let mut aegis = world.start();
    let mut busy = world.prometheus(&aegis).connect().unwrap();
    busy.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    service.asked(1);
    aegis.signal(Signal::TERM);
    aegis.logged(&["draining"]);
    assert_eq!(health(&world, &[]).status.code(), Some(0));
    let said = health(&world, &["--ready"]).stderr;
    assert_eq!(
        String::from_utf8(said).unwrap(),
        "aegis: not ready: it is stopping\n"
    );
    let reload = operator::ask(&socket, "POST", "/-/reload", "");
    assert_eq!(reload.text(), "not reloaded: aegis is stopping\n");
    drop(busy);
    assert_eq!(aegis.ended().code(), Some(0));
}

#[test]
fn health_needs_to_know_where_to_ask() {
    let world = World::new();
    world.write_config();
    let output = health(&world, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "aegis: no admin socket is configured; set admin_socket, or give --admin-socket\n"
    );
}

/// Starts another aegis that must not come up; if it does, it is ended.
fn started(world: &World) -> Output {
    let mut serve = Command::new("timeout");
    serve.arg("20").arg(env!("CARGO_BIN_EXE_aegis"));
    serve
        .args(["serve", "--config"])
        .arg(world.path("aegis.toml"));
    serve.output().unwrap()
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_one_that_answers_is_not() {
    let (world, socket) = world();
    drop(UnixListener::bind(&socket).unwrap());
    let aegis = world.start();
    assert_eq!(operator::ask(&socket, "GET", "/-/healthy", "").status, 200);
    let mut second = command();
    let second = second
        .args(["serve", "--config"])
        .arg(world.path("aegis.toml"));
    let second = second.output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(
        said.contains("admin_socket: ") && said.contains("address in use"),
        "{said}"
    );
    assert_eq!(operator::ask(&socket, "GET", "/-/healthy", "").status, 200);
    drop(aegis);

    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "somebody's").unwrap();
    assert_eq!(started(&world).status.code(), Some(78));
    assert!(!std::fs::metadata(&socket).unwrap().file_type().is_socket());
}

#[test]
fn connections_that_say_nothing_end_and_hold_nobody_up_for_ever() {
    let (mut world, socket) = world();
    world.settings.limits = "head_timeout = \"300ms\"".to_owned();
    let _aegis = world.start();
    #[expect(clippy::disallowed_methods, reason = "the operator's side")]
    let silent: Vec<UnixStream> = (0..40)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    assert_eq!(operator::ask(&socket, "GET", "/-/healthy", "").status, 200);
    for mut stream in silent {
        drop(stream.write_all(b"GET"));
        until_closed(&mut stream);
    }
}

#[test]
fn a_mode_or_a_name_that_cannot_be_is_said() {
    let (mut world, _) = world();
    world.settings.top += "\nadmin_socket_mode = \"rw\"\nadvertise = \"no port\"";
    let mut check = command();
    let check = check.args(["check", "--config"]).arg(world.write_config());
    let output = check.output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("admin_socket_mode: \"rw\" is not a file mode"),
        "{said}"
    );
    assert!(
        said.contains("advertise: \"no port\" is not a name or an address with a port"),
        "{said}"
    );
}

#[test]
fn another_admin_socket_needs_a_restart_and_that_is_said() {
    let (mut world, socket) = world();
    let aegis = world.start();
    world.settings.top = "admin_socket = \"other.sock\"".to_owned();
    world.write_config();
    aegis.logged(&["change only by a restart"]);
    assert_eq!(operator::ask(&socket, "GET", "/-/healthy", "").status, 200);
}

#[test]
fn health_is_neither_held_up_nor_controls_the_terminal_by_what_answers() {
    let (world, socket) = world();
    world.write_config();
    let listener = UnixListener::bind(&socket).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\n\r\nwell\x1b[2J\n";
        stream.write_all(answer).unwrap();
        drop(stream);
        // For ever, a byte at a time.
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b" ").is_ok() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let answered = health(&world, &[]);
    assert_eq!(String::from_utf8(answered.stdout).unwrap(), "well[2J\n");
    let held_up = health(&world, &[]);
    assert_eq!(held_up.status.code(), Some(1));
    let said = String::from_utf8(held_up.stderr).unwrap();
    assert!(said.contains("does not answer"), "{said}");
    answering.join().unwrap();
}
