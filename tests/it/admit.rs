//! Stage 1: which clients get a connection.

use std::io::Read as _;

use crate::harness::aegis::binary;
use crate::harness::pki::dns;
use crate::harness::scraper::{connect, connect_from};
use crate::harness::{
    Aegis, Certified, Connection, PROMETHEUS, Scraper, World, admin_socket, allow, answer, metric,
    wait_until,
};

/// Whether a new connection is reset before the server sends a byte.
fn is_reset(aegis: &Aegis) -> bool {
    let reset = connect(aegis.address()).and_then(|mut stream| stream.read(&mut [0]));
    reset.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn an_address_outside_every_network_is_reset_before_any_tls_byte() {
    let mut world = World::new();
    world.settings.allow = allow(r#""192.0.2.0/24""#, r#""*""#, r#""*""#);
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    assert!(is_reset(&aegis));
    let line = aegis.logged_refusal("admit", "network");
    assert!(line.contains("peer=127.0.0.1 port="), "{line}");
    assert!(world.prometheus(&aegis).try_get("/node").is_err());
    assert_eq!(service.connections(), 0);
}

#[test]
fn connections_above_the_address_limit_are_reset_and_closed_ones_are_freed() {
    let mut world = World::new();
    world.settings.limits = "connections_per_address = 3".to_owned();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let mut held: Vec<_> = (0..3).map(|_| scraper.connect().unwrap()).collect();
    for connection in &mut held {
        assert_eq!(connection.get("/node").unwrap().status, 200);
    }
    assert!(is_reset(&aegis));
    aegis.logged_refusal("admit", "connection_limit");
    held.pop();
    wait_until(|| scraper.try_get("/node").is_ok());
}

#[test]
fn connections_above_the_total_limit_are_reset() {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    world.settings.limits = "connections = 2".to_owned();
    let aegis = world.start();
    let _held = [0, 1].map(|_| connect(aegis.address()).unwrap());
    wait_until(|| {
        let metrics = admin_socket::request(&world.path("admin.sock"), "GET", "/metrics", "");
        metric(&metrics.text(), "aegis_connections") == Some(2.0)
    });
    assert!(is_reset(&aegis));
    aegis.logged_refusal("admit", "connection_limit");
}

#[test]
fn an_address_above_the_rate_limit_is_reset() {
    let mut world = World::new();
    world.settings.limits =
        "connection_rate = 1\nconnection_burst = 5\nhandshake_timeout = \"100ms\"".to_owned();
    let aegis = world.start();
    let connections: Vec<_> = (0..50).map(|_| connect(aegis.address())).collect();
    // aegis also closes the admitted ones after the handshake timeout, but without a reset.
    let is_reset = |mut stream: std::net::TcpStream| {
        let read = stream.read(&mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    };
    let reset = connections.into_iter().flatten().map(is_reset);
    let reset = reset.filter(|reset| *reset).count();
    assert!(reset >= 30, "{reset} of 50");
    aegis.logged_refusal("admit", "rate");
}

#[test]
fn descriptor_exhaustion_does_not_end_the_server() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let config = world.write_config();
    let mut command = std::process::Command::new("sh");
    let limited = format!(
        "ulimit -n 40; exec '{}' serve --log-level debug --config '{}'",
        binary(),
        config.display()
    );
    command.args(["-c", &limited]);
    let aegis = Aegis::spawn(command);
    aegis.logged(&["WARN", "open files limit"]);
    let held: Vec<_> = (0..60).map(|_| connect(aegis.address()).unwrap()).collect();
    aegis.logged(&["WARN", "accept failed", "os error 24"]);
    drop(held);
    let scraper = world.prometheus(&aegis);
    wait_until(|| scraper.try_get("/node").is_ok());
    // The repeated error is not logged again.
    for _ in 0..5 {
        drop(
            (0..60)
                .map(|_| connect(aegis.address()).unwrap())
                .collect::<Vec<_>>(),
        );
        wait_until(|| scraper.try_get("/node").is_ok());
    }
    let is_accept_error = |line: &&String| line.contains("accept failed");
    assert_eq!(aegis.log().iter().filter(is_accept_error).count(), 1);
}

/// Everything on this host may connect, and both of these scrapers may scrape.
fn world_of_two(limits: &str) -> (World, Certified) {
    let mut world = World::new();
    let identities = format!(r#""dns:{PROMETHEUS}", "dns:other.example.org""#);
    world.settings.allow = allow(r#""127.0.0.0/8""#, &identities, r#""*""#);
    world.settings.limits = limits.to_owned();
    let other = world.pki.client_with(|params| {
        params.subject_alt_names = vec![dns("other.example.org")];
    });
    (world, other)
}

fn connect_as(scraper: &Scraper, host: u8) -> std::io::Result<Connection> {
    let source = std::net::Ipv4Addr::new(127, 0, 0, host).into();
    scraper.connect_over(connect_from(source, scraper.address)?)
}

#[test]
fn a_scraper_with_eight_addresses_does_not_exclude_another() {
    let (world, other) = world_of_two("connections = 64");
    let _node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let (hog, other) = (
        world.prometheus(&aegis),
        world.scraper(&aegis, Some(&other)),
    );
    // With its 60 connections and four handshakes, all connections are in use.
    let mut held: Vec<_> = (0..60)
        .map(|number| {
            let mut connection = connect_as(&hog, 1 + number % 8).unwrap();
            assert_eq!(connection.get("/node").unwrap().status, 200);
            connection
        })
        .collect();
    let source = |host| std::net::Ipv4Addr::new(127, 0, 0, host).into();
    let _silent: Vec<_> = (1..5)
        .map(|_| connect_from(source(1), aegis.address()).unwrap())
        .collect();
    // The other scraper connects from three addresses.
    let mut others = Vec::new();
    for host in [20, 20, 21, 22] {
        let mut connection = connect_as(&other, host).unwrap();
        assert_eq!(connection.get("/node").unwrap().status, 200);
        others.push(connection);
    }
    let line = aegis.logged_times(
        4,
        &["evicted: all connections are in use", "limits.connections"],
    );
    assert!(line.contains("reason=connection_limit"), "{line}");
    // aegis evicted the four oldest idle connections. All others are still open.
    let (closed, open) = held.split_at_mut(4);
    assert!(closed.iter_mut().all(Connection::is_closed));
    for connection in open.iter_mut().chain(&mut others) {
        assert_eq!(connection.get("/node").unwrap().status, 200);
    }
    // A further connection of the same scraper evicts one of its own.
    let mut more = connect_as(&hog, 1).unwrap();
    assert_eq!(more.get("/node").unwrap().status, 200);
    assert!(open.last_mut().unwrap().is_closed());
    for connection in &mut others {
        assert_eq!(connection.get("/node").unwrap().status, 200);
    }
}

#[test]
fn one_scraper_gets_300_connections_by_default() {
    let mut world = World::new();
    // This test computes its handshakes one by one, which can take longer than the default.
    world.settings.limits = "handshake_timeout = \"60s\"".to_owned();
    let _node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    // All scrapers connect at once, as after a restart.
    let tcp: Vec<_> = (0..300)
        .map(|_| connect(aegis.address()).unwrap())
        .collect();
    let mut held: Vec<_> = tcp
        .into_iter()
        .map(|tcp| scraper.connect_over(tcp).unwrap())
        .collect();
    for _ in 0..2 {
        for connection in &mut held {
            assert_eq!(connection.get("/node").unwrap().status, 200);
        }
    }
    assert_eq!(aegis.count_logged(&["stage=admit"]), 0);
}

#[test]
fn a_refusal_by_a_limit_names_the_limit() {
    let (world, _) = world_of_two(
        "connections = 1\nconnections_per_address = 1\nconnection_rate = 1\nconnection_burst = 3",
    );
    let aegis = world.start();
    let _held = connect_as(&world.prometheus(&aegis), 1).unwrap();
    let refused = |host| connect_as(&world.prometheus(&aegis), host).is_err();
    assert!(refused(1));
    aegis.logged(&[
        "reason=connection_limit",
        "limits.connections_per_address = 1",
    ]);
    for _ in 0..4 {
        assert!(refused(1));
    }
    aegis.logged(&["reason=rate", "limits.connection_rate"]);
}
