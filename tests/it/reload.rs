//! A reload applies the operator's files, to open connections as well. A broken file interrupts
//! nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::pki::dns;
use crate::harness::{Aegis, Connection, PATIENCE, PROMETHEUS, Pki, Service, World, allow, answer};

pub const DAY: Duration = Duration::from_secs(24 * 3600);
const OTHER: &str = "other.example.org";

/// A world with two scrapers, both admitted, each with an open connection.
pub struct Fixture {
    pub world: World,
    pub aegis: Aegis,
    _service: Service,
    pub prometheus: Connection,
    other: Connection,
}

pub fn fixture() -> Fixture {
    let mut world = World::new();
    let both = format!(r#""dns:{PROMETHEUS}", "dns:{OTHER}""#);
    world.settings.allow = allow(r#""127.0.0.1""#, &both, r#""*""#);
    // A test that waits for a new certificate reconnects for about a second.
    world.settings.limits = "scrape_timeout = \"1h\"\nconnection_burst = 100000".to_owned();
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let certificate = world
        .pki
        .client_with(|params| params.subject_alt_names = vec![dns(OTHER)]);
    let mut other = world.scraper(&aegis, Some(&certificate)).connect().unwrap();
    let mut prometheus = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(prometheus.get("/node").unwrap().status, 200);
    assert_eq!(other.get("/node").unwrap().status, 200);
    Fixture {
        world,
        aegis,
        _service: service,
        prometheus,
        other,
    }
}

impl Fixture {
    /// Sends SIGHUP, and waits for the end of the reload.
    pub fn reload(&mut self) {
        let before = self.aegis.count_logged(RELOADED);
        self.world.write_config();
        self.aegis.signal(Signal::HUP);
        self.aegis.logged_times(before + 1, RELOADED);
    }
}

pub const RELOADED: &[&str] = &["INFO reloaded"];

#[test]
fn a_scraper_removed_by_reload_is_disconnected_and_others_stay() {
    let mut fixture = fixture();
    fixture.world.settings.allow = allow(r#""127.0.0.1""#, &format!(r#""dns:{OTHER}""#), r#""*""#);
    fixture.reload();
    assert!(fixture.prometheus.is_closed());
    let line = fixture.aegis.logged_refusal("handshake", "identity");
    assert!(
        line.contains("no longer admitted") && line.contains(PROMETHEUS),
        "{line}"
    );
    assert!(
        fixture
            .world
            .prometheus(&fixture.aegis)
            .try_get("/node")
            .is_err()
    );
    assert_eq!(fixture.other.get("/node").unwrap().status, 200);
}

#[test]
fn a_grant_removed_by_reload_is_refused_on_its_open_connection() {
    let mut fixture = fixture();
    let both = format!(r#""dns:{PROMETHEUS}", "dns:{OTHER}""#);
    fixture.world.settings.allow = allow(r#""127.0.0.1""#, &both, r#""web""#);
    fixture.reload();
    assert_eq!(fixture.prometheus.get("/node").unwrap().status, 404);
    fixture.aegis.logged_refusal("authorize", "not_granted");
}

#[test]
fn a_certificate_revoked_by_reload_is_disconnected_and_others_stay() {
    let mut fixture = fixture();
    let leaver = fixture.world.pki.client();
    let mut leaving = fixture
        .world
        .scraper(&fixture.aegis, Some(&leaver))
        .connect()
        .unwrap();
    assert_eq!(leaving.get("/node").unwrap().status, 200);
    let crl = fixture.world.pki.crl_revoking(&leaver, DAY);
    fs::write(fixture.world.path("crl.pem"), crl).unwrap();
    fixture.world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    fixture.reload();
    assert!(leaving.is_closed());
    assert!(
        fixture
            .aegis
            .logged_refusal("handshake", "revoked")
            .contains(&leaver.serial)
    );
    let again = fixture.world.scraper(&fixture.aegis, Some(&leaver));
    assert!(again.try_get("/node").is_err());
    for connection in [&mut fixture.prometheus, &mut fixture.other] {
        assert_eq!(connection.get("/node").unwrap().status, 200);
    }
}

#[test]
fn a_replaced_client_ca_disconnects_scrapers_of_the_old_one() {
    let mut fixture = fixture();
    let ca = Pki::new();
    fs::write(fixture.world.path("ca.pem"), ca.ca_pem()).unwrap();
    fixture.reload();
    assert!(fixture.prometheus.is_closed() && fixture.other.is_closed());
    fixture.aegis.logged_refusal("handshake", "untrusted");
    let successor = fixture.world.scraper(&fixture.aegis, Some(&ca.client()));
    assert_eq!(successor.get("/node").status, 200);
}

#[test]
fn an_address_removed_by_reload_is_disconnected() {
    let mut fixture = fixture();
    fixture.world.settings.allow = allow(r#""192.0.2.0/24""#, r#""*""#, r#""*""#);
    fixture.reload();
    assert!(fixture.prometheus.is_closed());
    assert!(
        fixture
            .aegis
            .logged_refusal("admit", "network")
            .contains("no longer admitted")
    );
}

#[test]
fn a_scrape_in_flight_that_is_no_longer_allowed_is_aborted() {
    let mut fixture = fixture();
    // It never answers and never hangs up: only aegis can end this scrape.
    let hung = Service::with(&fixture.world.socket("hung"), |_| {
        loop {
            std::thread::park();
        }
    });
    let request = b"GET /hung HTTP/1.1\r\nHost: a\r\n\r\n";
    fixture.prometheus.send(request).unwrap();
    hung.wait_for_requests(1);
    fixture.world.settings.allow = allow(r#""127.0.0.1""#, &format!(r#""dns:{OTHER}""#), r#""*""#);
    fixture.reload();
    let cut = fixture.prometheus.answer(false).unwrap_err();
    assert_eq!(cut.kind(), std::io::ErrorKind::UnexpectedEof, "{cut}");
    let line = fixture.aegis.logged_refusal("handshake", "identity");
    assert!(line.contains("service=hung"), "{line}");
    let failed =
        r#"aegis_scrape_failures_total{service="hung",stage="handshake",reason="identity"} 1"#;
    let metrics = fixture.other.get("/metrics").unwrap().text();
    assert!(metrics.contains(failed), "{metrics}");
}

/// The certificate that aegis serves to a new connection.
fn served_certificate(fixture: &Fixture) -> Vec<u8> {
    let connection = fixture.world.prometheus(&fixture.aegis).connect().unwrap();
    let chain = connection.stream.conn.peer_certificates().unwrap();
    chain[0].to_vec()
}

fn wait_until_served(fixture: &Fixture, expected: &[u8]) {
    let deadline = Instant::now() + PATIENCE;
    while served_certificate(fixture) != expected {
        assert!(
            Instant::now() < deadline,
            "the new certificate was never served"
        );
    }
}

#[test]
fn a_renewed_certificate_is_served_without_a_signal_and_connections_stay() {
    let mut fixture = fixture();
    let renewed = fixture.world.pki.server();
    // One file after the other. In between they do not match, and the old pair stays in use.
    let elsewhere = tempfile::tempdir().unwrap();
    renewed.write(elsewhere.path(), "server");
    fs::copy(
        elsewhere.path().join("server.pem"),
        fixture.world.path("server.pem"),
    )
    .unwrap();
    fixture
        .aegis
        .logged(&["ERROR", "not reloaded", "is not the key of the certificate"]);
    assert_ne!(served_certificate(&fixture), renewed.chain[0].to_vec());
    fs::copy(
        elsewhere.path().join("server.key"),
        fixture.world.path("server.key"),
    )
    .unwrap();
    wait_until_served(&fixture, &renewed.chain[0]);
    assert_eq!(fixture.prometheus.get("/node").unwrap().status, 200);
}

#[test]
fn a_directory_swapped_by_a_link_as_in_kubernetes_is_reloaded() {
    let mut fixture = fixture();
    let renewed = fixture.world.pki.server();
    for version in ["v1", "v2"] {
        fs::create_dir(fixture.world.path(version)).unwrap();
    }
    for file in ["server.pem", "server.key"] {
        fs::rename(
            fixture.world.path(file),
            fixture.world.path("v1").join(file),
        )
        .unwrap();
        symlink(format!("..data/{file}"), fixture.world.path(file)).unwrap();
    }
    renewed.write(&fixture.world.path("v2"), "server");
    symlink("v1", fixture.world.path("..data")).unwrap();
    fixture.reload();
    symlink("v2", fixture.world.path("..data_tmp")).unwrap();
    fs::rename(
        fixture.world.path("..data_tmp"),
        fixture.world.path("..data"),
    )
    .unwrap();
    wait_until_served(&fixture, &renewed.chain[0]);
}

#[test]
fn sighup_reloads_unchanged_files() {
    let fixture = fixture();
    fixture.aegis.signal(Signal::HUP);
    fixture.aegis.logged(RELOADED);
}

#[test]
fn a_failed_reload_is_retried_with_unchanged_files() {
    let fixture = fixture();
    let (here, gone) = (fixture.world.path("services"), fixture.world.path("gone"));
    fs::rename(&here, &gone).unwrap();
    fixture.aegis.signal(Signal::HUP);
    fixture
        .aegis
        .logged(&["ERROR", "not reloaded", "services cannot be opened"]);
    fs::rename(&gone, &here).unwrap();
    fixture.aegis.logged(RELOADED);
}

#[test]
fn a_setting_that_needs_a_restart_is_reported() {
    let mut fixture = fixture();
    fixture.world.settings.listen = r#"["127.0.0.1:0", "127.0.0.2:0"]"#.to_owned();
    let warning = &["WARN", "need a restart"];
    fixture.reload();
    fixture.aegis.logged(warning);
    assert_eq!(fixture.prometheus.get("/node").unwrap().status, 200);
    // The configuration matches the running process again.
    fixture.world.settings.listen = r#"["127.0.0.1:0"]"#.to_owned();
    fixture.reload();
    assert_eq!(fixture.aegis.count_logged(warning), 1);
}

#[test]
fn a_refused_reload_leaves_no_services_behind() {
    let mut fixture = fixture();
    let elsewhere = fixture.world.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let _stray = Service::answering(&elsewhere.join("stray.sock"), answer("up 1\n").into());
    let good = fs::read_to_string(fixture.world.path("aegis.toml")).unwrap();
    let bad = good.replace("\"services\"", "\"elsewhere\"");
    let bad = bad.replace("\"server.key\"", "\"absent.key\"");
    fs::write(fixture.world.path("aegis.toml"), bad).unwrap();
    fixture.aegis.signal(Signal::HUP);
    fixture.aegis.logged(&["not reloaded", "absent.key"]);
    fs::write(fixture.world.path("aegis.toml"), good).unwrap();
    fixture.aegis.logged(RELOADED);
    let discovery = fixture.prometheus.get("/-/sd").unwrap().text();
    assert!(
        discovery.contains("/node") && !discovery.contains("stray"),
        "{discovery}"
    );
}

#[test]
fn repeated_reloads_fail_no_scrape_and_leak_no_descriptors() {
    const RELOADS: usize = 100;
    let mut fixture = fixture();
    let done = Arc::new(AtomicBool::new(false));
    let scraping: Vec<_> = (0..2)
        .map(|_| {
            let (scraper, done) = (fixture.world.prometheus(&fixture.aegis), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut connection = scraper.connect().unwrap();
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(connection.get("/node").unwrap().status, 200);
                    assert_eq!(scraper.get("/node").status, 200);
                }
            })
        })
        .collect();
    fixture.reload();
    let before = fixture.prometheus.open_descriptors();
    for _ in 0..RELOADS {
        fixture.reload();
    }
    done.store(true, Ordering::Relaxed);
    for scraping in scraping {
        scraping.join().unwrap();
    }
    // Two scrapes may have been in flight, and the closed connections may still be closing.
    let deadline = Instant::now() + PATIENCE;
    while fixture.prometheus.open_descriptors() > before + 4.0 {
        assert!(Instant::now() < deadline, "descriptors are left open");
        std::thread::yield_now();
    }
    assert_eq!(fixture.prometheus.get("/node").unwrap().status, 200);
}
