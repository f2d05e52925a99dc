//! The lifecycle of the process: ready, serve, drain.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::Signal;
use rustls::{ClientConnection, StreamOwned};

use crate::harness::aegis::{command, field};
use crate::harness::scraper::connect;
use crate::harness::service::until_closed;
use crate::harness::{Aegis, Connection, PATIENCE, Scraper, Service, World, answer};

#[test]
fn the_ready_line_has_the_real_ports() {
    let mut world = World::new();
    world.settings.listen = r#"["127.0.0.1:0", "127.0.0.2:0"]"#.to_owned();
    let aegis = world.start();
    assert_eq!(aegis.addresses().len(), 2);
    assert!(aegis.addresses().iter().all(|address| address.port() != 0));
    // From the ready line on, every connection is served.
    assert_eq!(world.prometheus(&aegis).get("/absent").status, 404);
}

/// A service that begins an answer, and completes it on request.
fn held_service(world: &World, name: &str) -> (Service, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let service = Service::with(&world.socket(name), move |stream| {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nup 1\n";
        stream.write_all(head.as_bytes()).unwrap();
        if released.lock().unwrap().recv().is_ok() {
            stream.write_all(b"up 2\n").unwrap();
        }
    });
    (service, release)
}

#[test]
fn sigterm_completes_scrapes_in_flight_and_closes_idle_connections() {
    let world = World::new();
    let (service, release) = held_service(&world, "held");
    let mut aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let mut idle = scraper.connect().unwrap();
    assert_eq!(idle.get("/absent").unwrap().status, 404);
    let mut busy = scraper.connect().unwrap();
    busy.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    service.wait_for_requests(1);
    aegis.signal(Signal::TERM);
    assert!(idle.is_closed());
    aegis.logged(&["draining"]);
    assert!(
        scraper.connect().is_err(),
        "a new connection was accepted while draining"
    );
    release.send(()).unwrap();
    assert_eq!(busy.answer(false).unwrap().text(), "up 1\nup 2\n");
    assert!(busy.is_closed());
    assert_eq!(aegis.wait_for_exit().code(), Some(0));
    aegis.logged(&["stopped"]);
}

#[test]
fn connections_accepted_before_sigterm_are_answered() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let mut aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let mut silent = scraper.connect().unwrap();
    let (tcp, name) = (connect(aegis.address()).unwrap(), aegis.address().ip());
    let tls = ClientConnection::new(Arc::clone(&scraper.tls), name.into()).unwrap();
    let mut halfway = StreamOwned::new(tls, tcp);
    halfway.conn.write_tls(&mut halfway.sock).unwrap();
    // The server's flight has arrived, so the connection was accepted. The scraper's is not sent
    // yet.
    halfway.conn.read_tls(&mut halfway.sock).unwrap();
    aegis.signal(Signal::TERM);
    aegis.logged(&["draining"]);
    assert_eq!(silent.get("/node").unwrap().text(), "up 1\n");
    halfway.conn.process_new_packets().unwrap();
    let request = b"GET /node HTTP/1.1\r\nHost: a\r\n\r\n";
    halfway.write_all(request).unwrap();
    let mut answered = String::new();
    halfway.read_to_string(&mut answered).unwrap();
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert!(answered.ends_with("up 1\n"), "{answered}");
    assert_eq!(aegis.wait_for_exit().code(), Some(0));
}

#[test]
fn draining_ends_at_its_deadline() {
    let mut world = World::new();
    world.settings.limits = "drain_timeout = \"300ms\"\nscrape_timeout = \"1h\"".to_owned();
    let service = Service::with(&world.socket("hung"), until_closed);
    let mut aegis = world.start();
    let mut busy = world.prometheus(&aegis).connect().unwrap();
    busy.send(b"GET /hung HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    service.wait_for_requests(1);
    aegis.signal(Signal::INT);
    assert_eq!(aegis.wait_for_exit().code(), Some(0));
    aegis.logged(&["WARN", "aborted scrapes in flight"]);
}

#[test]
fn a_second_signal_ends_aegis_at_once() {
    let mut world = World::new();
    world.settings.limits = r#"drain_timeout = "1h""#.to_owned();
    let service = Service::with(&world.socket("hung"), until_closed);
    let mut aegis = world.start();
    let mut busy = world.prometheus(&aegis).connect().unwrap();
    busy.send(b"GET /hung HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    service.wait_for_requests(1);
    aegis.signal(Signal::TERM);
    aegis.logged(&["draining"]);
    aegis.signal(Signal::TERM);
    assert_eq!(aegis.wait_for_exit().code(), Some(1));
    aegis.logged(&["second signal"]);
}

#[test]
fn a_connection_beyond_its_maximum_age_is_closed() {
    let mut world = World::new();
    world.settings.limits = r#"connection_age = "3s""#.to_owned();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().status, 200);
    scrape_until_closed(&mut connection);
    assert_eq!(world.prometheus(&aegis).get("/node").status, 200);
}

/// Scrapes until aegis closes the connection.
pub fn scrape_until_closed(connection: &mut Connection) {
    let deadline = Instant::now() + PATIENCE;
    while let Ok(answer) = connection.get("/node") {
        assert_eq!(answer.status, 200);
        assert!(Instant::now() < deadline, "it was never refused");
    }
    assert!(connection.is_closed());
}

#[test]
fn an_expiring_certificate_ends_its_open_connection() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(8);
    let certificate = world
        .pki
        .client_with(|params| params.not_after = soon.into());
    let scraper = world.scraper(&aegis, Some(&certificate));
    let [mut connection, mut views] = [0, 1].map(|_| scraper.connect().unwrap());
    assert_eq!(connection.get("/node").unwrap().status, 200);
    assert_eq!(views.get("/-/sd").unwrap().status, 200);
    scrape_until_closed(&mut connection);
    aegis.logged_refusal("handshake", "expired");
    assert!(views.get("/-/sd").is_err());
    assert_eq!(world.prometheus(&aegis).get("/node").status, 200);
}

#[test]
fn an_expiring_intermediate_ends_open_connections_below_it() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(8);
    let between = world
        .pki
        .intermediate_with(|params| params.not_after = soon.into());
    let certificate = between.client().with_chain([between.ca_der()]);
    let aegis = world.start();
    let mut connection = world.scraper(&aegis, Some(&certificate)).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().status, 200);
    scrape_until_closed(&mut connection);
    aegis.logged_refusal("handshake", "expired");
    assert_eq!(world.prometheus(&aegis).get("/node").status, 200);
}

#[test]
fn an_address_that_no_interface_has_is_bound_with_a_warning() {
    let mut world = World::new();
    world.settings.listen = r#"["127.0.0.1:0", "192.0.2.1:0"]"#.to_owned();
    let aegis = world.start();
    aegis.logged(&["WARN", "no interface has this address yet", "192.0.2.1:0"]);
    assert_eq!(world.prometheus(&aegis).get("/absent").status, 404);
}

#[test]
fn with_json_logs_every_line_is_an_object() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let config = world.write_config();
    let mut command = command();
    command
        .args(["serve", "--log-format", "json", "--config"])
        .arg(config);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    // A warning about too few open files may come first.
    let is_ready = |line: &String| line.contains(r#""message":"ready""#);
    let ready = lines.by_ref().map(Result::unwrap).find(is_ready).unwrap();
    let (_, listen) = ready.split_once(r#""listen":""#).unwrap();
    let address = listen.split('"').next().unwrap().parse().unwrap();
    let scraper = Scraper::new(address, &world.pki, Some(&world.pki.client()));
    assert_eq!(scraper.get("/node").status, 200);
    let scraped = lines.next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    for line in [&ready, &scraped] {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
    for part in [
        r#""level":"INFO""#,
        r#""message":"scraped""#,
        r#""service":"node""#,
        r#""bytes":5"#,
    ] {
        assert!(scraped.contains(part), "{part} in {scraped}");
    }
}

#[test]
fn a_closed_log_pipe_does_not_end_aegis() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let mut command = command();
    command
        .args(["serve", "--config"])
        .arg(world.write_config());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let is_ready = |line: &String| line.contains(" ready ");
    let ready = log.by_ref().map(Result::unwrap).find(is_ready).unwrap();
    drop(log);
    let address = field(&ready, "listen").unwrap().parse().unwrap();
    let scraper = Scraper::new(address, &world.pki, Some(&world.pki.client()));
    for _ in 0..3 {
        assert_eq!(scraper.get("/node").status, 200);
    }
    assert!(child.try_wait().unwrap().is_none(), "it has ended");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn refusals_of_strangers_are_sampled_for_each_reason() {
    let world = World::new();
    let mut command = command();
    command
        .args(["serve", "--config"])
        .arg(world.write_config());
    let aegis = Aegis::spawn(command);
    for _ in 0..20 {
        assert!(world.scraper(&aegis, None).try_get("/node").is_err());
    }
    assert_eq!(world.prometheus(&aegis).get("/absent").status, 404);
    aegis.logged_refusal("authorize", "unknown_service");
    let seen = aegis
        .log()
        .iter()
        .filter(|line| line.contains("no_certificate"))
        .count();
    assert_eq!(seen, 1);
}
