//! Socket activation and sd_notify, tested without systemd.
//!
//! A shell starts aegis. It knows its process id, which aegis keeps after exec, and can move a
//! descriptor to the expected number.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{self, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::aegis::{binary, command};
use crate::harness::kernel::without_ipv6;
use crate::harness::scraper::connect;
use crate::harness::{Aegis, PATIENCE, Scraper, World, answer, folder};

/// `aegis serve` with one descriptor handed over.
fn activated(config: &Path, handed_over: impl Into<OwnedFd>, environment: &str) -> Command {
    let script = format!(r#"exec 3<&0 0</dev/null; {environment} exec "$@""#);
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh", &binary(), "serve"]);
    shell.args(["--log-level", "debug", "--config"]).arg(config);
    shell.stdin(Stdio::from(handed_over.into()));
    shell
}

const ONE: &str = "LISTEN_PID=$$ LISTEN_FDS=1";

fn world(listen: &str) -> World {
    let mut world = World::new();
    world.settings.listen = listen.to_owned();
    world
}

fn listener() -> (TcpListener, SocketAddr) {
    #[expect(clippy::disallowed_methods, reason = "systemd's side")]
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn an_inherited_socket_is_served_and_clients_wait_during_a_restart() {
    let world = world(r#"["systemd"]"#);
    let _service = world.service("node", answer("up 1\n"));
    let (listener, address) = listener();
    let config = world.write_config();
    let start = || {
        let command = activated(&config, listener.try_clone().unwrap(), ONE);
        Aegis::spawn_with_its_descriptors(command)
    };
    let mut first = start();
    assert_eq!(first.addresses(), [address]);
    let scraper = world.prometheus(&first);
    assert_eq!(scraper.get("/node").text(), "up 1\n");
    let targets = scraper.get("/-/sd").text();
    assert!(targets.contains(&address.to_string()), "{targets}");
    first.signal(Signal::TERM);
    assert_eq!(first.wait_for_exit().code(), Some(0));
    // No process accepts yet, and no client is refused.
    let waiting = connect(address).unwrap();
    let second = start();
    let mut waited = Scraper::new(address, &world.pki, Some(&world.pki.client()))
        .connect_over(waiting)
        .unwrap();
    assert_eq!(waited.get("/node").unwrap().text(), "up 1\n");
    assert!(
        world
            .prometheus(&second)
            .get("/metrics")
            .text()
            .contains("aegis_connections 2"),
        "both are counted"
    );
}

#[test]
fn a_named_socket_is_served_together_with_an_address() {
    let world = world(r#"["127.0.0.1:0", "systemd:public"]"#);
    let (listener, address) = listener();
    let names = format!("{ONE} LISTEN_FDNAMES=public");
    let command = activated(&world.write_config(), listener, &names);
    let aegis = Aegis::spawn_with_its_descriptors(command);
    let [first, second] = aegis.addresses() else {
        panic!("{:?}", aegis.addresses())
    };
    assert!(*first == address || *second == address);
    for address in [*first, *second] {
        let scraper = Scraper::new(address, &world.pki, Some(&world.pki.client()));
        assert_eq!(scraper.get("/absent").status, 404);
    }
}

/// Starts aegis, and asserts that it fails with this message.
fn assert_start_fails(listen: &str, handed_over: OwnedFd, environment: &str, expected: &str) {
    let (code, log) = serve_until_ready(listen, handed_over, environment);
    assert!(log.contains(expected), "{expected}\n{log}");
    assert_eq!(code, Some(78), "{log}");
}

/// Starts aegis, and returns its exit code and log. There is no code if it becomes ready.
fn serve_until_ready(
    listen: &str,
    handed_over: OwnedFd,
    environment: &str,
) -> (Option<i32>, String) {
    let world = world(listen);
    let mut command = activated(&world.write_config(), handed_over, environment);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        log += &(line.unwrap() + "\n");
        if log.contains("INFO ready") {
            child.kill().unwrap();
        }
    }
    (child.wait().unwrap().code(), log)
}

#[test]
fn missing_and_unexpected_inherited_sockets_are_reported_at_start() {
    const ANY: &str = r#"["systemd"]"#;
    const NO_SUCH: &str = "systemd passed no such socket, or another entry uses it; it passed";
    let no_such = |entry: &str| format!("listen: {entry}: {NO_SUCH} \"unknown\"");
    let promised = "LISTEN_FDS names descriptors that are not open";
    for (listen, environment, expected) in [
        (ANY, "", "systemd passed no socket; start aegis by its"),
        (ANY, "LISTEN_PID=1 LISTEN_FDS=1", "LISTEN_PID is \"1\", and"),
        (ANY, "LISTEN_PID=$$ LISTEN_FDS=2", promised),
        (ANY, "LISTEN_PID=$$ LISTEN_FDS=many", promised),
        (r#"["systemd:public"]"#, ONE, &no_such("systemd:public")),
        (
            r#"["systemd", "systemd"]"#,
            ONE,
            "listen: \"systemd\" is listed twice",
        ),
        (
            r#"["127.0.0.1:0"]"#,
            ONE,
            "\"unknown\", which no `listen` entry uses",
        ),
    ] {
        assert_start_fails(listen, listener().0.into(), environment, expected);
    }
}

#[test]
fn an_inherited_socket_does_not_excuse_an_unavailable_ipv6_address() {
    let handed_over = listener().0;
    let listen = r#"["systemd", "[::1]:0"]"#;
    let (code, log) = without_ipv6(move || serve_until_ready(listen, handed_over.into(), ONE));
    assert_eq!(code, Some(1), "{log}");
    let expected = "listen: [::1]:0 cannot be listened on: Address family not supported";
    assert!(log.contains(expected), "{log}");
}

#[test]
fn an_inherited_socket_that_is_not_listening_tcp_is_reported_at_start() {
    let folder = folder();
    let unix = UnixListener::bind(folder.path().join("a")).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (open, address) = listener();
    let connection = connect(address).unwrap();
    drop(open);
    for (handed_over, expected) in [
        (
            OwnedFd::from(File::open("/dev/null").unwrap()),
            "is not a socket",
        ),
        (
            unix.into(),
            "is a Unix socket; write an address and a port in ListenStream=",
        ),
        (
            udp.into(),
            "is not TCP; write ListenStream= in its .socket unit",
        ),
        (
            connection.into(),
            "does not listen; write Accept=no in its .socket unit",
        ),
    ] {
        let expected = format!("listen: systemd: the socket \"unknown\" {expected}");
        assert_start_fails(r#"["systemd"]"#, handed_over, ONE, &expected);
    }
}

#[test]
fn an_invalid_socket_name_is_an_error_and_check_needs_no_socket() {
    for (listen, code) in [
        (r#"["systemd"]"#, 0),
        (r#"["systemd:scrapes"]"#, 0),
        (r#"["systemd:"]"#, 78),
        (r#"["systemd:a:b"]"#, 78),
        (r#"["systemd scrapes"]"#, 78),
        (r#"["Systemd"]"#, 78),
    ] {
        let mut check = command();
        check.args(["check", "--config"]);
        let output = check.arg(world(listen).write_config()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{listen}");
        if code == 0 {
            let stdout = String::from_utf8(output.stdout).unwrap();
            assert!(stdout.contains("ok: would listen on systemd"), "{stdout}");
        }
    }
}

#[test]
fn a_reload_keeps_the_inherited_socket() {
    let mut world = world(r#"["systemd"]"#);
    let (listener, address) = listener();
    let aegis = Aegis::spawn_with_its_descriptors(activated(&world.write_config(), listener, ONE));
    let scraper = Scraper::new(address, &world.pki, Some(&world.pki.client()));
    world.settings.listen = r#"["127.0.0.1:0"]"#.to_owned();
    world.write_config();
    aegis.signal(Signal::HUP);
    aegis.logged(&["reloaded"]);
    aegis.logged(&["WARN", "changes of listen need a restart"]);
    assert_eq!(scraper.get("/absent").status, 404);
}

/// The receiver of sd_notify messages; reads with a deadline.
struct Manager(UnixDatagram);

impl Manager {
    fn at(address: &net::SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn in_folder(folder: &Path) -> (Self, String) {
        let path = folder.join("notify");
        let address = net::SocketAddr::from_pathname(&path).unwrap();
        (Self::at(&address), path.to_str().unwrap().to_owned())
    }

    fn receive(&self) -> String {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// The messages up to and including one with this text.
    fn receive_until(&self, text: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut messages = Vec::new();
        loop {
            messages.push(self.receive());
            if messages.last().unwrap().contains(text) {
                return messages;
            }
            assert!(Instant::now() < deadline, "{messages:?}");
        }
    }
}

fn supervised(world: &World, variables: &[(&str, &str)]) -> Aegis {
    let mut command = command();
    command.envs(variables.iter().copied());
    command
        .args(["serve", "--config"])
        .arg(world.write_config());
    Aegis::spawn(command)
}

#[test]
fn systemd_is_notified_of_ready_reload_and_stop() {
    let mut world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let (manager, path) = Manager::in_folder(world.folder.path());
    let mut aegis = supervised(&world, &[("NOTIFY_SOCKET", &path)]);
    let ready = manager.receive();
    // Once aegis is ready, clients can connect.
    assert_eq!(world.prometheus(&aegis).get("/node").status, 200);
    let status = "READY=1\nSTATUS=serving 1 service, 0 connections; certificate until ";
    assert!(ready.starts_with(status), "{ready}");
    assert!(ready.ends_with("-01-01; last reload ok\n"), "{ready}");

    let is_reloading = |message: &str| {
        let time = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        time.is_some_and(|time| time.trim_end().parse::<u64>().is_ok())
    };
    aegis.signal(Signal::HUP);
    let messages = manager.receive_until("READY=1");
    assert!(
        messages.iter().any(|message| is_reloading(message)),
        "{messages:?}"
    );
    world.settings.allow.clear();
    world.write_config();
    aegis.signal(Signal::HUP);
    let messages = manager.receive_until("; last reload failed with 1 error, see the log\n");
    let begun = messages.iter().position(|message| is_reloading(message));
    assert!(
        begun.is_some_and(|begun| begun < messages.len() - 1),
        "{messages:?}"
    );
    assert!(
        messages.last().unwrap().starts_with("READY=1\n"),
        "{messages:?}"
    );

    aegis.signal(Signal::TERM);
    manager.receive_until("STOPPING=1\nSTATUS=stopping; ");
    assert_eq!(aegis.wait_for_exit().code(), Some(0));
}

#[test]
fn an_abstract_notify_socket_works_inside_the_sandbox() {
    let world = World::new();
    let name = format!("aegis-test-{}", std::process::id());
    let manager = Manager::at(&net::SocketAddr::from_abstract_name(&name).unwrap());
    let aegis = supervised(&world, &[("NOTIFY_SOCKET", &format!("@{name}"))]);
    aegis.logged(&["ready", "seccomp"]);
    manager.receive_until("READY=1");
    // The sandbox is active by now.
    aegis.signal(Signal::HUP);
    manager.receive_until("RELOADING=1");
    manager.receive_until("READY=1");
}

#[test]
fn a_missing_or_invalid_notify_socket_does_not_end_aegis() {
    for address in ["/nowhere/notify", "vsock:2:1", "notify"] {
        let world = World::new();
        let aegis = supervised(&world, &[("NOTIFY_SOCKET", address)]);
        aegis.logged(&["WARN", "cannot connect to NOTIFY_SOCKET", address]);
        assert_eq!(world.prometheus(&aegis).get("/absent").status, 404);
    }
}

#[test]
fn the_watchdog_is_pinged_at_its_interval_if_it_watches_this_process() {
    let world = World::new();
    let (manager, path) = Manager::in_folder(world.folder.path());
    let watched = [("NOTIFY_SOCKET", &*path), ("WATCHDOG_USEC", "400000")];
    let aegis = supervised(&world, &watched);
    for _ in 0..3 {
        manager.receive_until("WATCHDOG=1\n");
    }
    drop(aegis);
    drop(manager);
    fs::remove_file(&path).unwrap();
    let (manager, path) = Manager::in_folder(world.folder.path());
    let of_another = [
        ("NOTIFY_SOCKET", &*path),
        ("WATCHDOG_USEC", "1000"),
        ("WATCHDOG_PID", "1"),
    ];
    let mut aegis = supervised(&world, &of_another);
    manager.receive_until("READY=1");
    aegis.signal(Signal::TERM);
    let messages = manager.receive_until("STATUS=stopping; ");
    assert!(
        !messages.iter().any(|message| message.contains("WATCHDOG")),
        "{messages:?}"
    );
    assert_eq!(aegis.wait_for_exit().code(), Some(0));
}
