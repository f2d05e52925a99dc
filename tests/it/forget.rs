//! Services that go: they stay listed as failing for a while, and are then forgotten.

use crate::harness::{Scraper, World, answer, wait_until};

fn is_listed(scraper: &Scraper, service: &str) -> bool {
    let listed = scraper.get("/-/sd").text();
    listed.contains(&format!("\"__meta_aegis_service\":\"{service}\""))
}

fn has_series(scraper: &Scraper, service: &str) -> bool {
    let own = scraper.get("/metrics").text();
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
    let scraper = world.prometheus(&aegis);
    for service in ["node", "configured", "stays"] {
        assert_eq!(scraper.get(&format!("/{service}")).status, 200);
        // A scrape is counted after its last byte was sent.
        wait_until(|| has_series(&scraper, service));
    }
    drop(services);
    wait_until(|| !is_listed(&scraper, "node"));
    assert!(!has_series(&scraper, "node"));
    aegis.logged(&[
        "forgotten: its socket was gone for forget_after",
        "service=node",
    ]);
    assert_eq!(scraper.get("/node").status, 404);
    for service in ["configured", "stays"] {
        assert!(is_listed(&scraper, service), "{service}");
        assert!(has_series(&scraper, service), "{service}");
    }
}

#[test]
fn a_service_whose_socket_vanished_stays_listed_by_default() {
    let world = World::new();
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/node").status, 200);
    drop(service);
    assert_eq!(scraper.get("/node").header("Aegis-Reason"), Some("missing"));
    assert!(is_listed(&scraper, "node"));
    wait_until(|| has_series(&scraper, "node"));
}

#[test]
fn a_reload_forgets_a_removed_service_whose_socket_is_gone() {
    let mut world = World::new();
    let elsewhere = world.path("elsewhere.sock");
    world.settings.rest =
        format!("[services.gone]\n[services.moved]\nsocket = {elsewhere:?}\n[services.stays]\n");
    let _stays = world.service("stays", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    for service in ["gone", "moved", "stays"] {
        scraper.get(&format!("/{service}"));
        assert!(is_listed(&scraper, service), "{service}");
        wait_until(|| has_series(&scraper, service));
    }
    world.settings.rest = String::new();
    world.write_config();
    aegis.logged(&["reloaded"]);
    for service in ["gone", "moved"] {
        assert!(!is_listed(&scraper, service), "{service}");
        assert!(!has_series(&scraper, service), "{service}");
        assert_eq!(scraper.get(&format!("/{service}")).status, 404);
    }
    assert!(is_listed(&scraper, "stays"));
    assert!(has_series(&scraper, "stays"));
}
