//! Stage 5: aegis connects to the sockets of its directory and to nothing else.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::harness::pki::dns;
use crate::harness::service::read_head;
use crate::harness::{Aegis, PATIENCE, PROMETHEUS, Scraper, Service, World, allow, answer};

fn assert_refused(aegis: &Aegis, scraper: &Scraper, service: &str, reason: &str) {
    let answer = scraper.get(&format!("/{service}"));
    assert_eq!(
        answer.status,
        if reason == "busy" { 503 } else { 502 },
        "{service}"
    );
    assert_eq!(answer.header("Aegis-Reason"), Some(reason), "{service}");
    let line = aegis.logged_refusal("upstream", reason);
    assert!(line.contains(" WARN "), "{line}");
}

#[test]
fn links_and_other_files_than_sockets_are_never_opened() {
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
        assert_refused(&aegis, &scraper, service, "escapes");
    }
    for service in ["file", "folder", "fifo"] {
        assert_refused(&aegis, &scraper, service, "not_a_socket");
    }
    assert_eq!(scraper.get("/true").status, 200);
    assert_eq!((outside.connections(), inside.connections()), (0, 1));
}

fn nix_fifo(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

#[test]
fn a_socket_swapped_for_a_link_never_leads_outside() {
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
fn a_known_service_without_its_socket_is_missing_and_not_unknown() {
    let mut world = World::new();
    world.settings.rest = "[services.configured]\npath = \"/metrics\"\n".to_owned();
    let at_start = world.service("at-start", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let later = world.service("later", answer("up 1\n"));
    assert_eq!(scraper.get("/later").status, 200);
    drop((at_start, later));
    for service in ["at-start", "later", "configured"] {
        assert_refused(&aegis, &scraper, service, "missing");
    }
    assert_eq!(scraper.get("/never").status, 404);
    // A service that listens again is scraped again.
    let _back = world.service("later", answer("up 1\n"));
    assert_eq!(scraper.get("/later").status, 200);
}

#[test]
fn a_socket_without_a_listener_is_a_failed_connect() {
    let world = World::new();
    drop(UnixListener::bind(world.socket("dead")).unwrap());
    let aegis = world.start();
    assert_refused(&aegis, &world.prometheus(&aegis), "dead", "connect");
}

#[test]
fn a_full_backlog_is_retried_until_the_deadline() {
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
    #[expect(clippy::disallowed_methods, reason = "another client of the socket")]
    let filling = UnixStream::connect(world.socket("slow")).unwrap();
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_refused(&aegis, &scraper, "slow", "connect");
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
fn a_service_with_an_owner_is_scraped_only_from_that_user() {
    let mut world = World::new();
    let me = rustix::process::getuid().as_raw();
    world.settings.rest = format!(
        "[services.mine]\nowner = {me}\n[services.theirs]\nowner = {}\n",
        me + 1
    );
    let _mine = world.service("mine", answer("up 1\n"));
    let theirs = world.service("theirs", answer("up 1\n"));
    world.disown("theirs");
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/mine").status, 200);
    assert_refused(&aegis, &scraper, "theirs", "owner");
    assert_eq!(theirs.connections(), 0);
}

#[test]
fn a_service_may_have_its_own_socket_and_metrics_path() {
    let mut world = World::new();
    let long = "x".repeat(120);
    std::fs::create_dir(world.path(&long)).unwrap();
    world.settings.rest =
        format!("[services.app]\nsocket = \"{long}/app.sock\"\npath = \"/internal/metrics\"\n");
    // The path is longer than sun_path, so the test binds through a short link to the folder.
    symlink(world.path(&long), world.path("short")).unwrap();
    let app = Service::answering(&world.path("short/app.sock"), answer("up 1\n").into());
    let aegis = world.start();
    assert_eq!(world.prometheus(&aegis).get("/app").status, 200);
    assert!(app.requests()[0].starts_with("GET /internal/metrics HTTP/1.1\r\n"));
}

#[test]
fn services_in_one_directory_share_a_descriptor() {
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
        // Looks for all services.
        assert_eq!(connection.get("/-/sd").unwrap().status, 200);
        connection.open_descriptors()
    };
    let none = descriptors_with(0);
    assert_eq!(descriptors_with(1), none + 1.0);
    assert_eq!(descriptors_with(100), none + 1.0);
}

#[test]
fn a_relative_socket_path_starts_at_the_configuration() {
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
    // The working directory has changed.
    aegis.signal(rustix::process::Signal::HUP);
    aegis.logged(&["reloaded"]);
    assert_eq!(scraper.get("/app").status, 200);
}

#[test]
fn after_a_reload_a_link_in_place_of_a_directory_is_refused() {
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
fn the_upstream_request_is_written_by_aegis() {
    let world = World::new();
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let headers = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\
        Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\
        User-Agent: Prometheus/3.0\r\nAuthorization: Bearer secret\r\nCookie: a=b\r\n\
        X-Forwarded-For: 10.0.0.1\r\nConnection: X-Custom\r\nX-Custom: 1\r\n";
    assert_eq!(
        connection.request("GET", "/node", headers).unwrap().status,
        200
    );
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
fn max_concurrent_limits_one_service_and_delays_no_other() {
    let mut world = World::new();
    world.settings.limits = "scrape_timeout = \"300ms\"".to_owned();
    world.settings.rest = "[services.hung]\nmax_concurrent = 3\n".to_owned();
    let hung = Service::with(&world.socket("hung"), crate::harness::service::until_closed);
    let _node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let mut waiting: Vec<_> = (0..2).map(|_| scraper.connect().unwrap()).collect();
    for connection in &mut waiting {
        let request =
            b"GET /hung HTTP/1.1\r\nHost: a\r\nX-Prometheus-Scrape-Timeout-Seconds: 60\r\n\r\n";
        connection.send(request).unwrap();
    }
    hung.wait_for_requests(2);
    // The third permit is reserved for another scraper, and none of this scraper's becomes free in
    // time.
    assert_refused(&aegis, &scraper, "hung", "busy");
    aegis.logged(&["reason=busy", "max_concurrent = 3, and none ended in time"]);
    for _ in 0..20 {
        assert_eq!(scraper.get("/node").status, 200);
    }
    assert_eq!(hung.connections(), 2);
}

#[test]
fn a_scraper_with_64_busy_connections_does_not_starve_another() {
    let mut world = World::new();
    let identities = format!(r#""dns:{PROMETHEUS}", "dns:other.example.org""#);
    world.settings.allow = allow(r#""127.0.0.1/32""#, &identities, r#""*""#);
    world.settings.rest = "[services.slow]\nmax_concurrent = 4\ntimeout = \"60s\"\n".to_owned();
    // The number of requests, and the number of answers.
    let gate = Arc::new((Mutex::new((0, 0)), Condvar::new()));
    let seen = Arc::clone(&gate);
    let slow = Service::with(&world.socket("slow"), move |stream| {
        let (counts, changed) = &*seen;
        let mut counts = counts.lock().unwrap();
        let number = counts.0;
        counts.0 += 1;
        changed.notify_all();
        drop(changed.wait_while(counts, |(_, answered)| number >= *answered));
        drop(stream.write_all(answer("up 1\n").as_bytes()));
    });
    let aegis = world.start();
    let hog = world.prometheus(&aegis);
    let other = world.pki.client_with(|params| {
        params.subject_alt_names = vec![dns("other.example.org")];
    });
    let other = world.scraper(&aegis, Some(&other));
    let request =
        b"GET /slow HTTP/1.1\r\nHost: a\r\nX-Prometheus-Scrape-Timeout-Seconds: 60\r\n\r\n";
    let mut held: Vec<_> = (0..64).map(|_| hog.connect().unwrap()).collect();
    for connection in &mut held {
        connection.send(request).unwrap();
    }
    let has = |scrapes| {
        let (counts, changed) = &*gate;
        let counts = counts.lock().unwrap();
        let waited = changed.wait_timeout_while(counts, PATIENCE, |(has, _)| *has < scrapes);
        assert_eq!(waited.unwrap().0.0, scrapes);
    };
    let answers = |scrapes| {
        gate.0.lock().unwrap().1 = scrapes;
        gate.1.notify_all();
    };
    has(3);
    let mut connection = other.connect().unwrap();
    for round in 1..=8 {
        // The service has three scrapes of the first scraper, and this one does not wait for them.
        connection.send(request).unwrap();
        has(4 * round);
        answers(4 * round);
        assert_eq!(connection.answer(false).unwrap().status, 200);
        has(4 * round + 3);
    }
    assert_eq!(slow.connections(), 35);
    answers(100);
    for connection in &mut held {
        assert_eq!(connection.answer(false).unwrap().status, 200);
    }
    assert_eq!(aegis.count_logged(&["reason=busy"]), 0);
}

#[test]
fn a_disconnected_scraper_leaves_the_concurrency_queue() {
    let mut world = World::new();
    world.settings.rest = "[services.hung]\nmax_concurrent = 1\ntimeout = \"60s\"\n".to_owned();
    let hung = Service::with(&world.socket("hung"), crate::harness::service::until_closed);
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let request =
        b"GET /hung HTTP/1.1\r\nHost: a\r\nX-Prometheus-Scrape-Timeout-Seconds: 60\r\n\r\n";
    let mut running = scraper.connect().unwrap();
    running.send(request).unwrap();
    hung.wait_for_requests(1);
    let mut waiting = scraper.connect().unwrap();
    waiting.send(request).unwrap();
    drop(waiting);
    aegis.logged_refusal("respond", "abandoned");
    drop(running);
    aegis.logged_times(2, &["reason=abandoned"]);
    assert_eq!(hung.connections(), 1);
}
