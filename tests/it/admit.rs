//! Stage 1: who gets a connection at all.

use std::io::Read as _;

use crate::harness::scraper::connect;
use crate::harness::{Aegis, World, allow, answer, wait_until};

/// Whether a fresh connection is reset before the other side says a word.
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
    let line = aegis.refused("admit", "network");
    assert!(line.contains("peer=127.0.0.1:"), "{line}");
    assert!(world.prometheus(&aegis).try_get("/node").is_err());
    assert_eq!(service.connections(), 0);
}

#[test]
fn connections_beyond_the_cap_of_one_address_are_reset_and_places_come_back() {
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
    aegis.refused("admit", "connection_limit");
    held.pop();
    wait_until(|| scraper.try_get("/node").is_ok());
}

#[test]
fn connections_beyond_the_cap_of_all_are_reset() {
    let mut world = World::new();
    world.settings.limits = "connections = 2".to_owned();
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let _held = [scraper.connect().unwrap(), scraper.connect().unwrap()];
    assert!(is_reset(&aegis));
    aegis.refused("admit", "connection_limit");
}

#[test]
fn an_address_that_connects_too_fast_is_reset() {
    let mut world = World::new();
    world.settings.limits =
        "connection_rate = 1\nconnection_burst = 5\nhandshake_timeout = \"100ms\"".to_owned();
    let aegis = world.start();
    let connections: Vec<_> = (0..50).map(|_| connect(aegis.address())).collect();
    // Those with a place are closed as well, but in good order, once the handshake is late.
    let is_reset = |mut stream: std::net::TcpStream| {
        let read = stream.read(&mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    };
    let reset = connections.into_iter().flatten().map(is_reset);
    let reset = reset.filter(|reset| *reset).count();
    assert!(reset >= 30, "{reset} of 50");
    aegis.refused("admit", "rate");
}

#[test]
fn running_out_of_descriptors_does_not_end_the_server() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let config = world.write_config();
    let mut command = std::process::Command::new("sh");
    let limited = format!(
        "ulimit -n 40; exec '{}' serve --log-level debug --config '{}'",
        env!("CARGO_BIN_EXE_aegis"),
        config.display()
    );
    command.args(["-c", &limited]);
    let aegis = Aegis::spawn(command);
    aegis.logged(&["WARN", "limit on open files"]);
    let held: Vec<_> = (0..60).map(|_| connect(aegis.address()).unwrap()).collect();
    aegis.logged(&["WARN", "connections cannot be accepted", "os error 24"]);
    drop(held);
    let scraper = world.prometheus(&aegis);
    wait_until(|| scraper.try_get("/node").is_ok());
    // Full again and free again: it does not fill the log.
    for _ in 0..5 {
        drop(
            (0..60)
                .map(|_| connect(aegis.address()).unwrap())
                .collect::<Vec<_>>(),
        );
        wait_until(|| scraper.try_get("/node").is_ok());
    }
    let said = |line: &&String| line.contains("connections cannot be accepted");
    assert_eq!(aegis.log().iter().filter(said).count(), 1);
}
