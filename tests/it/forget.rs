//! Services that go: they stay listed as failing for a while, and are then forgotten.

use crate::harness::{Connection, World, answer, wait_until};

fn is_listed(connection: &mut Connection, service: &str) -> bool {
    let listed = connection.get("/-/sd").unwrap().text();
    listed.contains(&format!("\"__meta_aegis_service\":\"{service}\""))
}

fn has_series(connection: &mut Connection, service: &str) -> bool {
    let own = connection.get("/metrics").unwrap().text();
    own.contains(&format!("service=\"{service}\""))
}

#[test]
fn a_service_whose_socket_vanished_is_forgotten_after_forget_after() {
    let mut world = World::new();
    world.settings.top = "forget_after = \"1s\"".to_owned();
    world.settings.rest = "[services.configured]\n".to_owned();
    let services = ["node", "configured"].map(|name| world.service(name, answer("up 1\n")));
    let _stays = world.service("stays", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    for service in ["node", "configured", "stays"] {
        assert_eq!(connection.get(&format!("/{service}")).unwrap().status, 200);
        // A scrape is counted after its last byte was sent.
        wait_until(|| has_series(&mut connection, service));
    }
    drop(services);
    wait_until(|| !is_listed(&mut connection, "node"));
    assert!(!has_series(&mut connection, "node"));
    aegis.logged(&[
        "forgotten: its socket was gone for forget_after",
        "service=node",
    ]);
    assert_eq!(connection.get("/node").unwrap().status, 404);
    for service in ["configured", "stays"] {
        assert!(is_listed(&mut connection, service), "{service}");
        assert!(has_series(&mut connection, service), "{service}");
    }
}

#[test]
fn a_service_whose_socket_vanished_stays_listed_by_default() {
    let world = World::new();
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().status, 200);
    drop(service);
    assert_eq!(
        connection.get("/node").unwrap().header("Aegis-Reason"),
        Some("missing")
    );
    assert!(is_listed(&mut connection, "node"));
    wait_until(|| has_series(&mut connection, "node"));
}

#[test]
fn a_reload_forgets_a_removed_service_whose_socket_is_gone() {
    let mut world = World::new();
    let elsewhere = world.path("elsewhere.sock");
    world.settings.rest =
        format!("[services.gone]\n[services.moved]\nsocket = {elsewhere:?}\n[services.stays]\n");
    let _stays = world.service("stays", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    for service in ["gone", "moved", "stays"] {
        connection.get(&format!("/{service}")).unwrap();
        assert!(is_listed(&mut connection, service), "{service}");
        wait_until(|| has_series(&mut connection, service));
    }
    world.settings.rest = String::new();
    world.write_config();
    aegis.logged(&["reloaded"]);
    for service in ["gone", "moved"] {
        assert!(!is_listed(&mut connection, service), "{service}");
        assert!(!has_series(&mut connection, service), "{service}");
        assert_eq!(connection.get(&format!("/{service}")).unwrap().status, 404);
    }
    assert!(is_listed(&mut connection, "stays"));
    assert!(has_series(&mut connection, "stays"));
}
