//! The admin socket and its client, `aegis health`.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::aegis::{binary, command, run};
use crate::harness::service::{read_head, until_closed};
use crate::harness::{Service, World, admin_socket, answer, wait_until};

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
fn the_admin_socket_needs_no_certificate_and_shows_everything() {
    let (world, socket) = world();
    let service = world.service("node", answer("up 1\n"));
    let _aegis = world.start();
    let get = |target| admin_socket::request(&socket, "GET", target, "");
    assert_eq!(get("/-/healthy").text(), "healthy\n");
    assert_eq!(get("/-/ready").text(), "ready\n");
    assert!(get("/metrics").text().contains("\naegis_services 1\n"));
    assert!(
        get("/-/sd")
            .text()
            .contains("\"__metrics_path__\":\"/node\"")
    );
    let page = get("/").text();
    assert!(page.contains(">node</th>") && page.contains("not scraped yet"));
    // Not a scrape: the policy grants nothing here.
    assert_eq!(get("/node").status, 404);
    assert_eq!(service.connections(), 0);
    for (method, target, allow) in [
        ("GET", "/-/reload", "POST"),
        ("HEAD", "/-/reload", "POST"),
        ("DELETE", "/-/reload", "POST"),
        ("GET", "/-/forget/node", "POST"),
        ("POST", "/-/ready", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
    ] {
        let answer = admin_socket::request(&socket, method, target, "");
        assert_eq!(answer.status, 405, "{method} {target}");
        assert_eq!(answer.header("Allow"), Some(allow), "{method} {target}");
        let says = format!("that takes {}; here are ", allow.replace(", ", " or "));
        assert!(method == "HEAD" || answer.text().starts_with(&says));
    }
    assert_eq!(get("/../x").status, 400);
    let body = "Content-Length: 3\r\n";
    assert_eq!(
        admin_socket::request(&socket, "POST", "/-/reload", body).status,
        400
    );
}

#[test]
fn forget_does_not_affect_present_services_or_aegis() {
    let (mut world, socket) = world();
    world.settings.rest = "[services.named]\nmax_concurrent = 2\n".to_owned();
    let _service = world.service("node", answer("up 1\n"));
    let _named = world.service("named", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    for path in ["/node", "/named", "/metrics"] {
        assert_eq!(scraper.get(path).status, 200);
    }
    let get = |target| {
        admin_socket::request(&socket, "GET", target, "Accept: application/json\r\n").text()
    };
    let counters = || {
        let own = get("/metrics");
        let scrapes = own
            .lines()
            .filter(|line| line.starts_with("aegis_scrapes_total"));
        scrapes.map(str::to_owned).collect::<Vec<_>>()
    };
    // aegis counts a scrape after it has written the answer.
    wait_until(|| {
        counters()
            .iter()
            .filter(|series| series.ends_with(" 1"))
            .count()
            == 3
    });
    let services = || serde_json::from_str::<Value>(&get("/")).unwrap()["services"].clone();
    let (counted, listed) = (counters(), services());
    assert_eq!(listed[0]["state"], "up");
    for (name, why) in [
        (
            "node",
            "not forgotten: its socket exists; if the service is gone for good, remove that file first\n",
        ),
        (
            "named",
            "not forgotten: it is configured; remove it from the configuration\n",
        ),
        ("metrics", "not forgotten: it is aegis itself\n"),
    ] {
        let answer = admin_socket::request(&socket, "POST", &format!("/-/forget/{name}"), "");
        assert_eq!((answer.status, answer.text().as_str()), (409, why));
    }
    assert_eq!(counters(), counted);
    assert_eq!(services(), listed);
    // After its socket is gone, a service can be forgotten.
    drop(_service);
    assert_eq!(
        admin_socket::request(&socket, "POST", "/-/forget/node", "").status,
        200
    );
    assert!(!counters().iter().any(|series| series.contains("\"node\"")));
}

#[test]
fn the_mode_of_the_admin_socket_restricts_its_users() {
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
fn a_reload_by_the_admin_socket_is_answered_with_its_result() {
    let (world, socket) = world();
    let aegis = world.start();
    let reload = || admin_socket::request(&socket, "POST", "/-/reload", "");
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
        broken.text().contains("but must be a list"),
        "{}",
        broken.text()
    );
    // `/-/healthy` still answers.
    assert!(
        health(&world, &["--admin-socket", socket.to_str().unwrap()])
            .status
            .success()
    );
    std::fs::write(world.path("aegis.toml"), good).unwrap();
    assert_eq!(reload().text(), "reloaded\n");
}

fn none_answers(socket: &str, why: &str) -> String {
    format!(
        "no aegis answers on {socket} ({why}): is it running, with this admin_socket? See systemctl status aegis"
    )
}

#[test]
fn health_reports_the_maximum_length_of_a_socket_path() {
    let path = |length: usize| format!("/{}", "x".repeat(length - 1));
    for (length, problem) in [
        (107, none_answers(&path(107), "No such file or directory")),
        (
            108,
            format!(
                "{} is too long for a socket; the maximum is 107 bytes",
                path(108)
            ),
        ),
    ] {
        let path = path(length);
        let output = run(&["health", "--admin-socket", &path]);
        assert_eq!(output.status.code(), Some(1), "{length}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr, format!("aegis: {problem}\n"));
    }
}

#[test]
fn health_exits_with_the_health_of_aegis() {
    let (world, socket) = world();
    let mut aegis = world.start();
    for arguments in [&[][..], &["--ready"]] {
        let well = health(&world, arguments);
        assert_eq!(well.status.code(), Some(0));
    }
    std::fs::remove_dir(world.path("services")).unwrap();
    let unready = health(&world, &["--ready"]);
    assert_eq!(unready.status.code(), Some(1));
    let stderr = String::from_utf8(unready.stderr).unwrap();
    assert!(
        stderr.contains("not ready: the socket directory is missing"),
        "{stderr}"
    );
    assert_eq!(health(&world, &[]).status.code(), Some(0));
    aegis.signal(Signal::TERM);
    aegis.wait_for_exit();
    let socket_path = socket.to_str().unwrap();
    let down = || {
        let output = health(&world, &[]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let refused = none_answers(socket_path, "Connection refused");
    assert_eq!(down(), format!("aegis: {refused}\n"));
    std::fs::remove_file(&socket).unwrap();
    let gone = none_answers(socket_path, "No such file or directory");
    assert_eq!(down(), format!("aegis: {gone}\n"));
}

#[test]
fn a_user_who_may_not_open_the_admin_socket_is_told_who_may() {
    let (world, socket) = world();
    let _aegis = world.start();
    std::fs::set_permissions(&socket, Permissions::from_mode(0o000)).unwrap();
    let mut health = world.command_without_privilege("health");
    let output = health.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "aegis: {} cannot be opened (Permission denied): run this as root or as a user of its group\n",
        socket.display()
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}

#[test]
fn the_admin_socket_reports_draining() {
    let (mut world, socket) = world();
    world.settings.limits = "drain_timeout = \"1h\"\nscrape_timeout = \"1h\"".to_owned();
    let service = Service::with(&world.socket("held"), until_closed);
    let mut aegis = world.start();
    let mut busy = world.prometheus(&aegis).connect().unwrap();
    busy.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    service.wait_for_requests(1);
    aegis.signal(Signal::TERM);
    aegis.logged(&["draining"]);
    assert_eq!(health(&world, &[]).status.code(), Some(0));
    let stderr = health(&world, &["--ready"]).stderr;
    assert_eq!(
        String::from_utf8(stderr).unwrap(),
        "aegis: not ready: aegis is stopping\n"
    );
    let reload = admin_socket::request(&socket, "POST", "/-/reload", "");
    assert_eq!(reload.text(), "not reloaded: aegis is stopping\n");
    drop(busy);
    assert_eq!(aegis.wait_for_exit().code(), Some(0));
}

#[test]
fn health_needs_an_admin_socket() {
    let world = World::new();
    world.write_config();
    let output = health(&world, &[]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let file = world.path("aegis.toml");
    assert_eq!(
        stderr,
        format!(
            "aegis: no admin socket is configured: {} sets none; write admin_socket = \"/run/aegis/admin/admin.sock\" at its top and restart aegis, or give --admin-socket\n",
            file.display()
        )
    );
}

/// Starts a second aegis, which must fail. If it serves, it is killed.
fn started(world: &World) -> Output {
    let mut serve = Command::new("timeout");
    serve.arg("20").arg(binary());
    serve
        .args(["serve", "--config"])
        .arg(world.path("aegis.toml"));
    serve.output().unwrap()
}

#[test]
fn a_stale_admin_socket_is_replaced_and_a_live_one_is_not() {
    let (world, socket) = world();
    drop(UnixListener::bind(&socket).unwrap());
    let aegis = world.start();
    assert_eq!(
        admin_socket::request(&socket, "GET", "/-/healthy", "").status,
        200
    );
    let mut second = command();
    let second = second
        .args(["serve", "--config"])
        .arg(world.path("aegis.toml"));
    let second = second.output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert!(
        stderr.contains("admin_socket: ") && stderr.contains("address in use"),
        "{stderr}"
    );
    assert_eq!(
        admin_socket::request(&socket, "GET", "/-/healthy", "").status,
        200
    );
    drop(aegis);

    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "somebody's").unwrap();
    assert_eq!(started(&world).status.code(), Some(78));
    assert!(!std::fs::metadata(&socket).unwrap().file_type().is_socket());
}

#[test]
fn silent_admin_connections_are_closed_and_block_no_other() {
    let (mut world, socket) = world();
    world.settings.limits = "head_timeout = \"300ms\"".to_owned();
    let _aegis = world.start();
    #[expect(clippy::disallowed_methods, reason = "the operator's side")]
    let silent: Vec<UnixStream> = (0..40)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    assert_eq!(
        admin_socket::request(&socket, "GET", "/-/healthy", "").status,
        200
    );
    for mut stream in silent {
        drop(stream.write_all(b"GET"));
        until_closed(&mut stream);
    }
}

#[test]
fn an_invalid_admin_mode_or_path_is_reported() {
    let (mut world, _) = world();
    world.settings.top += "\nadmin_socket_mode = \"rw\"\nadvertise = \"no port\"";
    let mut check = command();
    let check = check.args(["check", "--config"]).arg(world.write_config());
    let output = check.output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("admin_socket_mode: \"rw\" is not a file mode"),
        "{stderr}"
    );
    assert!(
        stderr.contains("advertise: \"no port\" is not a name or an address with a port"),
        "{stderr}"
    );
}

#[test]
fn health_survives_a_hostile_admin_socket() {
    let (world, socket) = world();
    world.write_config();
    let listener = UnixListener::bind(&socket).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\n\r\nwell\x1b[2J\n";
        stream.write_all(answer).unwrap();
        drop(stream);
        // An endless answer, one byte at a time.
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b" ").is_ok() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let answered = health(&world, &[]);
    assert_eq!(String::from_utf8(answered.stdout).unwrap(), "well[2J\n");
    let held_up = health(&world, &[]);
    assert_eq!(held_up.status.code(), Some(1));
    let stderr = String::from_utf8(held_up.stderr).unwrap();
    assert!(stderr.contains("does not answer"), "{stderr}");
    answering.join().unwrap();
}
