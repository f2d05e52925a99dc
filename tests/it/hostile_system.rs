//! Failures of the system underneath: missing or refused system calls, a log that is not read, a
//! stopped process, an unreadable directory.

use std::fs::{File, Permissions};
use std::io::{BufRead as _, BufReader, Read, Seek as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use libc::{c_int, c_long};
use rustix::process::Signal;

use crate::harness::admin_socket;
use crate::harness::aegis::command;
use crate::harness::kernel::{LANDLOCK, where_calls_fail, without_ipv6};
use crate::harness::{Aegis, PATIENCE, Scraper, Service, World, answer, wait_until};

fn start_where_calls_fail(world: &World, calls: &[c_long], error: c_int) -> Aegis {
    let config = world.write_config();
    where_calls_fail(calls, error, move || Aegis::start(&config, &[]))
}

#[test]
fn without_openat2_links_are_still_refused() {
    for error in [libc::ENOSYS, libc::EPERM] {
        let mut world = World::new();
        let outside = Service::answering(&world.path("secret.sock"), answer("secret 1\n").into());
        let _inside = world.service("node", answer("up 1\n"));
        symlink("../secret.sock", world.socket("symlink")).unwrap();
        symlink("node.sock", world.socket("alias")).unwrap();
        std::fs::hard_link(world.path("secret.sock"), world.socket("hardlink")).unwrap();
        world.settings.rest = "[services.app]\nsocket = \"app/secret.sock\"\n".to_owned();
        std::fs::create_dir(world.path("app")).unwrap();
        let aegis = start_where_calls_fail(&world, &[libc::SYS_openat2], error);
        let scraper = world.prometheus(&aegis);
        assert_eq!(scraper.get("/node").text(), "up 1\n");
        // A link in place of a directory is refused as well.
        std::fs::remove_dir(world.path("app")).unwrap();
        symlink(".", world.path("app")).unwrap();
        for service in ["symlink", "alias", "hardlink", "app"] {
            let got = scraper.get(&format!("/{service}"));
            let seen = (got.status, got.header("Aegis-Reason"));
            assert_eq!(seen, (502, Some("escapes")), "{service}");
        }
        aegis.logged(&["INFO", "openat2 is not available here"]);
        assert_eq!(outside.connections(), 0);
    }
}

#[test]
fn a_missing_sandbox_layer_is_reported_and_refused_if_required() {
    for (calls, kinds) in [
        (LANDLOCK, &["landlock_files", "landlock_tcp"][..]),
        (&[libc::SYS_seccomp], &["seccomp"]),
    ] {
        let mut world = World::new();
        let _service = world.service("node", answer("up 1\n"));
        let aegis = start_where_calls_fail(&world, calls, libc::ENOSYS);
        let scraper = world.prometheus(&aegis);
        assert_eq!(scraper.get("/node").text(), "up 1\n");
        let own = scraper.get("/metrics").text();
        for kind in kinds {
            aegis.logged(&["WARN", &format!("the sandbox has no {kind}: ")]);
            let missing = format!("aegis_sandbox_active{{kind=\"{kind}\"}} 0\n");
            assert!(own.contains(&missing), "{own}");
        }
        assert!(own.contains("aegis_sandbox_active{kind=\"no_new_privileges\"} 1\n"));

        world.settings.top = "sandbox = \"required\"".to_owned();
        let config = world.write_config();
        let (code, output) = where_calls_fail(calls, libc::ENOSYS, move || {
            let mut serve = command();
            serve.args(["serve", "--config"]).arg(config);
            code_and_stderr(serve)
        });
        // The unit does not retry this code (RestartPreventExitStatus=).
        assert_eq!(code, Some(78), "{output}");
        // `check` reports the same before a start.
        let config = world.write_config();
        let checked = where_calls_fail(calls, libc::ENOSYS, move || {
            let mut check = command();
            check.args(["check", "--config"]).arg(config);
            check.output().unwrap()
        });
        let faults = String::from_utf8(checked.stderr).unwrap();
        assert_eq!(checked.status.code(), Some(78), "{faults}");
        let missing = |kind: &&str| faults.contains(&format!("the sandbox has no {kind}: "));
        assert!(kinds.iter().all(missing), "{faults}");
        // A warning about a low limit on open files may precede the errors.
        assert!(output.ends_with(&faults), "{output}\n{faults}");
    }
}

#[test]
fn without_ipv6_aegis_listens_on_ipv4_with_a_warning() {
    let mut world = World::new();
    world.settings.listen = r#"["[::1]:0", "127.0.0.1:0"]"#.to_owned();
    let _service = world.service("node", answer("up 1\n"));
    let config = world.write_config();
    let aegis = without_ipv6(move || Aegis::start(&config, &[]));
    aegis.logged(&[
        "WARN",
        "this host has no IPv6; skipping the address address=[::1]:0",
    ]);
    assert_eq!(aegis.addresses().len(), 1);
    assert_eq!(world.prometheus(&aegis).get("/node").text(), "up 1\n");
}

#[test]
fn without_ipv6_a_listen_of_ipv6_only_fails_with_a_remedy() {
    let mut world = World::new();
    world.settings.listen = r#"["[::1]:0", "[::]:0"]"#.to_owned();
    let config = world.write_config();
    let (code, output) = without_ipv6(move || {
        let mut serve = command();
        serve.args(["serve", "--config"]).arg(config);
        code_and_stderr(serve)
    });
    assert_eq!(code, Some(1), "{output}");
    let remedy = "this host has no IPv6: list an IPv4 address, such as 127.0.0.1:31337";
    assert_eq!(output.matches(remedy).count(), 2, "{output}");
}

#[test]
fn a_system_without_free_descriptors_does_not_end_the_server() {
    let world = World::new();
    let mut aegis = start_where_calls_fail(&world, &[libc::SYS_accept4], libc::ENFILE);
    let _waiting = crate::harness::scraper::connect(aegis.address()).unwrap();
    aegis.logged(&["WARN", "accept failed", "os error 23"]);
    aegis.signal(Signal::TERM);
    assert!(aegis.wait_for_exit().success());
}

/// Waits until a command exits, and returns its exit code and stderr.
fn code_and_stderr(mut command: Command) -> (Option<i32>, String) {
    let mut output = tempfile::tempfile().unwrap();
    command.stderr(output.try_clone().unwrap());
    let mut running = Killed(command.spawn().unwrap());
    let mut status = None;
    wait_until(|| {
        status = running.0.try_wait().unwrap();
        status.is_some()
    });
    output.rewind().unwrap();
    let output = std::io::read_to_string(output).unwrap();
    (status.and_then(|status| status.code()), output)
}

/// A process that is killed when the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A running aegis whose log the harness does not read.
struct Unheard {
    _child: Killed,
    address: SocketAddr,
}

impl Unheard {
    fn start(world: &mut World, log: impl FnOnce(&mut Command)) -> Self {
        world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
        let mut serve = command();
        serve.args(["serve", "--log-level", "debug", "--log-format", "json"]);
        serve.arg("--config").arg(world.write_config());
        log(&mut serve);
        let child = Killed(serve.spawn().unwrap());
        // The ready line cannot be read, so the address comes from service discovery.
        let admin = world.path("admin.sock");
        wait_until(|| admin.exists());
        let own = world.service("asked", answer("up 1\n"));
        let listed = admin_socket::request(&admin, "GET", "/-/sd", "").text();
        drop(own);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let address = listed[0]["targets"][0].as_str().unwrap();
        Self {
            _child: child,
            address: address.parse().unwrap(),
        }
    }

    fn scraper(&self, world: &World) -> Scraper {
        Scraper::new(self.address, &world.pki, Some(&world.pki.client()))
    }
}

fn lost_lines(scraper: &Scraper) -> u64 {
    let own = scraper.get("/metrics").text();
    let line = own
        .lines()
        .find(|line| line.starts_with("aegis_log_lines_lost_total "));
    line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_unread_log_delays_no_scrape_and_drops_whole_lines() {
    // As a shell and as journald give it.
    let (reader, writer) = std::io::pipe().unwrap();
    is_dropped_while_unread(reader, writer.into());
    let (reader, writer) = UnixStream::pair().unwrap();
    is_dropped_while_unread(reader, OwnedFd::from(writer).into());
}

fn is_dropped_while_unread(reader: impl Read + Send + 'static, writer: Stdio) {
    let mut world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = Unheard::start(&mut world, |serve| {
        serve.stderr(writer);
    });
    let scraper = aegis.scraper(&world);
    // A pipe holds 64 KiB, a socket 208, and each of these writes a line of 200 bytes.
    let mut connection = scraper.connect().unwrap();
    for _ in 0..2000 {
        assert_eq!(connection.get("/node").unwrap().status, 200);
    }
    let lost = lost_lines(&scraper);
    assert!(lost > 100, "{lost}");
    let log = BufReader::new(reader);
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = log.lines().map_while(Result::ok);
        lines.for_each(|line| sender.send(line).unwrap_or_default());
    });
    wait_until(|| {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        // Each line is complete.
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["lines"].as_u64() >= Some(lost)
            && line["message"]
                .as_str()
                .unwrap()
                .contains("dropped log lines")
    });
}

#[test]
fn a_full_or_closed_log_delays_no_scrape() {
    let full = |serve: &mut Command| {
        let full = File::options().write(true).open("/dev/full").unwrap();
        serve.stderr(full);
    };
    let closed = |serve: &mut Command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" >&- 2>&-"]);
        shell.arg(serve.get_program()).args(serve.get_args());
        *serve = shell;
    };
    let unread = |serve: &mut Command| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        serve.stderr(writer);
    };
    type Log = fn(&mut Command);
    for (log, is_lost) in [(full as Log, true), (closed, false), (unread, true)] {
        let mut world = World::new();
        let _service = world.service("node", answer("up 1\n"));
        let aegis = Unheard::start(&mut world, log);
        let scraper = aegis.scraper(&world);
        for _ in 0..20 {
            assert_eq!(scraper.get("/node").status, 200);
        }
        assert_eq!(lost_lines(&scraper) > 20, is_lost);
        let mut status = command();
        let status = status.arg("status").arg("--config");
        let status = status.arg(world.path("aegis.toml")).output().unwrap();
        let text = String::from_utf8(status.stdout).unwrap();
        let is_told = text.contains("\nlog lines lost since start: ");
        assert_eq!(is_told, is_lost, "{text}");
    }
}

#[test]
fn a_stopped_process_continues_its_connections() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let mut open = scraper.connect().unwrap();
    assert_eq!(open.get("/node").unwrap().status, 200);
    aegis.signal(Signal::STOP);
    let state = format!("/proc/{}/stat", aegis.pid());
    wait_until(|| std::fs::read_to_string(&state).unwrap().contains(") T "));
    open.send(b"GET /node HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let waiting = crate::harness::scraper::connect(aegis.address()).unwrap();
    aegis.signal(Signal::CONT);
    assert_eq!(open.answer(false).unwrap().text(), "up 1\n");
    let mut fresh = scraper.connect_over(waiting).unwrap();
    assert_eq!(fresh.get("/node").unwrap().text(), "up 1\n");
}

#[test]
fn an_unreadable_socket_directory_fails_scrapes_until_it_is_readable() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start_without_privilege();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/node").status, 200);
    let mode = |bits| {
        let services = world.path("services");
        std::fs::set_permissions(services, Permissions::from_mode(bits)).unwrap();
    };
    mode(0o000);
    let got = scraper.get("/node");
    assert_eq!(
        (got.status, got.header("Aegis-Reason")),
        (502, Some("permission"))
    );
    let line = aegis.logged_refusal("upstream", "permission");
    assert!(line.contains("may not search the directory"), "{line}");
    mode(0o755);
    assert_eq!(scraper.get("/node").text(), "up 1\n");
}

#[test]
fn a_replaced_socket_directory_is_reopened() {
    let world = World::new();
    let _old = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().text(), "up 1\n");
    // The old directory and its socket still exist, as under a mount or next to a copy.
    std::fs::rename(world.path("services"), world.path("old")).unwrap();
    assert_eq!(connection.get("/node").unwrap().text(), "up 1\n");
    std::fs::create_dir(world.path("services")).unwrap();
    let gone = connection.get("/node").unwrap();
    assert_eq!(gone.header("Aegis-Reason"), Some("missing"));
    let _new = world.service("node", answer("up 2\n"));
    assert_eq!(connection.get("/node").unwrap().text(), "up 2\n");
}

#[test]
fn constant_reloads_fail_no_scrape() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let mut connection = scraper.connect().unwrap();
    for _ in 0..200 {
        aegis.signal(Signal::HUP);
        assert_eq!(connection.get("/node").unwrap().text(), "up 1\n");
    }
    aegis.logged(&["reloaded"]);
    assert_eq!(scraper.get("/node").text(), "up 1\n");
}
