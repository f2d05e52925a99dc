//! Stage 5: aegis connects to the sockets of its directory and to nothing else.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::harness::service::read_head;
use crate::harness::{Aegis, PATIENCE, Scraper, Service, World, answer};

fn refuses(aegis: &Aegis, scraper: &Scraper, service: &str, reason: &str) {
    let answer = scraper.get(&format!("/{service}"));
    assert_eq!(
        answer.status,
        if reason == "busy" { 503 } else { 502 },
        "{service}"
    );
    assert_eq!(answer.header("Aegis-Reason"), Some(reason), "{service}");
    let line = aegis.refused("upstream", reason);
    assert!(line.contains(" WARN "), "{line}");
}

#[test]
fn links_and_what_is_no_socket_are_never_opened() {
    let world = World::new();
    let outside = Service::answering(&world.path("secret.sock"), answer("secret 1\n").into());
    let inside = world.service("true", answer("up 1\n"));
    symlink("../secret.sock", world.socket("symlink")).unwrap();
    symlink(world.path("secret.sock"), world.socket("absolute")).unwrap();
    symlink("true.sock", world.socket("alias")).unwrap();
    std::fs::hard_link(world.path("secret.sock"), world.socket("hardlink")).unwrap();
    symlink("loop.sock", world.socket("loop")).unwrap();
    std::fs::write(world.socket("file"), "HTTP/1.1 200 OK\r\n\r\n").unwrap();
    std::fs::create_dir(world.socket("folder")).unwrap();
    nix_fifo(&world.socket("fifo"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    for service in ["symlink", "absolute", "alias", "hardlink", "loop"] {
        refuses(&aegis, &scraper, service, "escapes");
    }
    for service in ["file", "folder", "fifo"] {
        refuses(&aegis, &scraper, service, "not_a_socket");
    }
    assert_eq!(scraper.get("/true").status, 200);
    assert_eq!((outside.connections(), inside.connections()), (0, 1));
}

fn nix_fifo(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

#[test]
fn a_socket_swapped_for_a_link_at_full_speed_never_leads_outside() {
    let world = World::new();
    let outside = Service::answering(&world.path("secret.sock"), answer("secret 1\n").into());
    let _inside = world.service("node", answer("up 1\n"));
    symlink(world.path("secret.sock"), world.path("services/link")).unwrap();
    let aegis = world.start();
    let done = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (done, folder) = (Arc::clone(&done), world.path("services"));
        std::thread::spawn(move || {
            let folder = std::fs::File::open(folder).unwrap();
            while !done.load(Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&folder, "link", &folder, "node.sock", exchange).unwrap();
            }
        })
    };
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let mut answers = [0_u32, 0];
    let deadline = Instant::now() + PATIENCE;
    while answers.iter().any(|count| *count < 200) && Instant::now() < deadline {
        let answer = connection.get("/node").unwrap();
        match answer.status {
            200 => assert_eq!(answer.text(), "up 1\n"),
            _ => assert_eq!(answer.header("Aegis-Reason"), Some("escapes")),
        }
        answers[usize::from(answer.status == 200)] += 1;
    }
    done.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    assert!(
        answers.iter().all(|count| *count > 0),
        "both were seen: {answers:?}"
    );
    assert_eq!(outside.connections(), 0);
}

#[test]
fn a_socket_that_was_there_or_is_configured_is_missing_and_not_unknown() {
    let mut world = World::new();
    world.settings.rest = "[services.configured]\npath = \"/metrics\"\n".to_owned();
    let at_start = world.service("at-start", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let later = world.service("later", answer("up 1\n"));
    assert_eq!(scraper.get("/later").status, 200);
    drop((at_start, later));
    for service in ["at-start", "later", "configured"] {
        refuses(&aegis, &scraper, service, "missing");
    }
    assert_eq!(scraper.get("/never").status, 404);
    // A service that comes back is scraped again.
    let _back = world.service("later", answer("up 1\n"));
    assert_eq!(scraper.get("/later").status, 200);
}

#[test]
fn a_socket_that_nobody_listens_on_is_a_failed_connect() {
    let world = World::new();
    drop(UnixListener::bind(world.socket("dead")).unwrap());
    let aegis = world.start();
    refuses(&aegis, &world.prometheus(&aegis), "dead", "connect");
}

#[test]
fn a_full_backlog_is_waited_for_until_the_deadline() {
    let mut world = World::new();
    world.settings.limits = "scrape_timeout = \"400ms\"".to_owned();
    let slow = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    rustix::net::bind(&slow, &SocketAddrUnix::new(world.socket("slow")).unwrap()).unwrap();
    rustix::net::listen(&slow, 0).unwrap();
    #[expect(clippy::disallowed_methods, reason = "whoever else is there")]
    let filling = UnixStream::connect(world.socket("slow")).unwrap();
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    refuses(&aegis, &scraper, "slow", "connect");
    aegis.logged(&["its backlog stayed full"]);

    let listener = UnixListener::from(slow);
    let serving = std::thread::spawn(move || {
        drop(filling);
        // The connection that filled the backlog, then the scrape that waited for it.
        for mut stream in listener.incoming().take(2).map(Result::unwrap) {
            if read_head(&mut stream).is_some() {
                stream.write_all(answer("up 1\n").as_bytes()).unwrap();
            }
        }
    });
    assert_eq!(scraper.get("/slow").text(), "up 1\n");
    serving.join().unwrap();
}

#[test]
fn a_service_with_an_owner_is_scraped_only_if_that_user_answers() {
    let mut world = World::new();
    let me = rustix::process::getuid().as_raw();
    world.settings.rest = format!(
        "[services.mine]\nowner = {me}\n[services.theirs]\nowner = {}\n",
        me + 1
    );
    let _mine = world.service("mine", answer("up 1\n"));
    let theirs = world.service("theirs", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/mine").status, 200);
    refuses(&aegis, &scraper, "theirs", "owner");
    assert_eq!(theirs.connections(), 0);
}

#[test]
fn a_socket_elsewhere_and_a_path_of_its_own_are_by_configuration() {
    let mut world = World::new();
    let long = "x".repeat(120);
    std::fs::create_dir(world.path(&long)).unwrap();
    world.settings.rest =
        format!("[services.app]\nsocket = \"{long}/app.sock\"\npath = \"/internal/metrics\"\n");
    // Longer than sun_path holds: bound by way of a short link to the folder.
    symlink(world.path(&long), world.path("short")).unwrap();
    let app = Service::answering(&world.path("short/app.sock"), answer("up 1\n").into());
    let aegis = world.start();
    assert_eq!(world.prometheus(&aegis).get("/app").status, 200);
    assert!(app.requests()[0].starts_with("GET /internal/metrics HTTP/1.1\r\n"));
}

#[test]
fn services_whose_sockets_lie_in_one_directory_need_one_descriptor() {
    let mut world = World::new();
    let elsewhere = world.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let _app = Service::answering(&elsewhere.join("app.sock"), answer("up 1\n").into());
    let mut descriptors_with = |services: usize| {
        let section = |number| format!("[services.app{number}]\nsocket = \"elsewhere/app.sock\"\n");
        world.settings.rest = (0..services).map(section).collect();
        let aegis = world.start();
        let mut connection = world.prometheus(&aegis).connect().unwrap();
        for number in 0..services {
            assert_eq!(
                connection.get(&format!("/app{number}")).unwrap().status,
                200
            );
        }
        // Looks for all of them.
        assert_eq!(connection.get("/-/sd").unwrap().status, 200);
        connection.open_descriptors()
    };
    let none = descriptors_with(0);
    assert_eq!(descriptors_with(1), none + 1.0);
    assert_eq!(descriptors_with(100), none + 1.0);
}

#[test]
fn a_relative_socket_of_a_relative_configuration_is_found() {
    let mut world = World::new();
    world.settings.rest = "[services.app]\nsocket = \"app.sock\"\n".to_owned();
    let _app = Service::answering(&world.path("app.sock"), answer("up 1\n").into());
    world.write_config();
    let mut command = crate::harness::aegis::command();
    command.args(["serve", "--config", "aegis.toml"]);
    command.args(["--socket-dir", "services", "--tls-cert", "server.pem"]);
    command.args(["--tls-key", "server.key", "--client-ca", "ca.pem"]);
    command.current_dir(world.folder.path());
    let aegis = Aegis::spawn(command);
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/app").status, 200);
    // The working directory is another by now.
    aegis.signal(rustix::process::Signal::HUP);
    aegis.logged(&["reloaded"]);
    assert_eq!(scraper.get("/app").status, 200);
}

#[test]
fn a_link_in_place_of_a_directory_leads_nowhere_after_a_reload_either() {
    let mut world = World::new();
    world.settings.rest = "[services.app]\nsocket = \"app/app.sock\"\n".to_owned();
    for folder in ["app", "other"] {
        std::fs::create_dir(world.path(folder)).unwrap();
    }
    let _app = Service::answering(&world.path("app/app.sock"), answer("up 1\n").into());
    let other = Service::answering(&world.path("other/app.sock"), answer("secret 1\n").into());
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/app").text(), "up 1\n");
    std::fs::rename(world.path("app"), world.path("old")).unwrap();
    symlink("other", world.path("app")).unwrap();
    let escapes = || assert_eq!(scraper.get("/app").header("Aegis-Reason"), Some("escapes"));
    escapes();
    aegis.signal(rustix::process::Signal::HUP);
    aegis.logged(&["reloaded"]);
    escapes();
    assert_eq!(other.connections(), 0);
}

#[test]
fn the_request_that_a_service_sees_is_written_by_aegis() {
    let world = World::new();
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let headers = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\
        Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\
        User-Agent: Prometheus/3.0\r\nAuthorization: Bearer secret\r\nCookie: a=b\r\n\
        X-Forwarded-For: 10.0.0.1\r\nConnection: X-Custom\r\nX-Custom: 1\r\n";
    assert_eq!(connection.ask("GET", "/node", headers).unwrap().status, 200);
    let request = service.requests()[0].clone();
    let mut lines: Vec<&str> = request.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /metrics HTTP/1.1");
    let timeout = lines
        .iter()
        .position(|line| line.starts_with("x-prometheus"))
        .unwrap();
    let (_, seconds) = lines.remove(timeout).split_once(": ").unwrap();
    let seconds: f64 = seconds.parse().unwrap();
    assert!(seconds > 5.0 && seconds <= 9.75, "{seconds}");
    lines.sort_unstable();
    let user_agent = format!("user-agent: aegis/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        lines,
        [
            "accept-encoding: gzip",
            "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "connection: close",
            "host: localhost",
            &user_agent,
        ]
    );
}

#[test]
fn a_service_is_scraped_only_so_often_at_once_and_others_do_not_wait_for_it() {
    let mut world = World::new();
    world.settings.rest = "[services.hung]\nmax_concurrent = 2\ntimeout = \"60s\"\n".to_owned();
    let hung = Service::with(&world.socket("hung"), crate::harness::service::until_closed);
    let _node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let mut waiting: Vec<_> = (0..2).map(|_| scraper.connect().unwrap()).collect();
    for connection in &mut waiting {
        connection
            .send(b"GET /hung HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
    }
    hung.asked(2);
    refuses(&aegis, &scraper, "hung", "busy");
    for _ in 0..20 {
        assert_eq!(scraper.get("/node").status, 200);
    }
    assert_eq!(hung.connections(), 2);
}
