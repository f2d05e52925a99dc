//! What the operator's files say is what is true on the wire, on open connections too; and a
//! broken file takes nothing down.

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
pub struct Stage {
    pub world: World,
    pub aegis: Aegis,
    _service: Service,
    pub prometheus: Connection,
    other: Connection,
}

pub fn stage() -> Stage {
    let mut world = World::new();
    let both = format!(r#""dns:{PROMETHEUS}", "dns:{OTHER}""#);
    world.settings.allow = allow(r#""127.0.0.1""#, &both, r#""*""#);
    // Whoever waits for a new certificate connects again and again for a second.
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
    Stage {
        world,
        aegis,
        _service: service,
        prometheus,
        other,
    }
}

impl Stage {
    /// Tells aegis to reload, and waits until it has.
    pub fn reload(&mut self) {
        let before = self.aegis.times(RELOADED);
        self.world.write_config();
        self.aegis.signal(Signal::HUP);
        self.aegis.logged_times(before + 1, RELOADED);
    }
}

pub const RELOADED: &[&str] = &["INFO reloaded"];

#[test]
fn a_scraper_removed_by_reload_is_closed_on_its_open_connection_and_others_notice_nothing() {
    let mut stage = stage();
    stage.world.settings.allow = allow(r#""127.0.0.1""#, &format!(r#""dns:{OTHER}""#), r#""*""#);
    stage.reload();
    assert!(stage.prometheus.is_closed());
    let line = stage.aegis.refused("handshake", "identity");
    assert!(
        line.contains("no longer admitted") && line.contains(PROMETHEUS),
        "{line}"
    );
    assert!(
        stage
            .world
            .prometheus(&stage.aegis)
            .try_get("/node")
            .is_err()
    );
    assert_eq!(stage.other.get("/node").unwrap().status, 200);
}

#[test]
fn a_grant_removed_by_reload_is_refused_on_the_open_connection_which_stays() {
    let mut stage = stage();
    let both = format!(r#""dns:{PROMETHEUS}", "dns:{OTHER}""#);
    stage.world.settings.allow = allow(r#""127.0.0.1""#, &both, r#""web""#);
    stage.reload();
    assert_eq!(stage.prometheus.get("/node").unwrap().status, 404);
    stage.aegis.refused("authorize", "not_granted");
}

#[test]
fn a_certificate_revoked_by_reload_is_out_at_once_and_others_of_its_ca_stay() {
    let mut stage = stage();
    let leaver = stage.world.pki.client();
    let mut leaving = stage
        .world
        .scraper(&stage.aegis, Some(&leaver))
        .connect()
        .unwrap();
    assert_eq!(leaving.get("/node").unwrap().status, 200);
    let crl = stage.world.pki.crl_revoking(&leaver, DAY);
    fs::write(stage.world.path("crl.pem"), crl).unwrap();
    stage.world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    stage.reload();
    assert!(leaving.is_closed());
    assert!(
        stage
            .aegis
            .refused("handshake", "revoked")
            .contains(&leaver.serial)
    );
    let again = stage.world.scraper(&stage.aegis, Some(&leaver));
    assert!(again.try_get("/node").is_err());
    for connection in [&mut stage.prometheus, &mut stage.other] {
        assert_eq!(connection.get("/node").unwrap().status, 200);
    }
}

#[test]
fn another_client_ca_closes_whoever_it_does_not_vouch_for() {
    let mut stage = stage();
    let ca = Pki::new();
    fs::write(stage.world.path("ca.pem"), ca.ca_pem()).unwrap();
    stage.reload();
    assert!(stage.prometheus.is_closed() && stage.other.is_closed());
    stage.aegis.refused("handshake", "untrusted");
    let successor = stage.world.scraper(&stage.aegis, Some(&ca.client()));
    assert_eq!(successor.get("/node").status, 200);
}

#[test]
fn an_address_removed_by_reload_is_closed() {
    let mut stage = stage();
    stage.world.settings.allow = allow(r#""192.0.2.0/24""#, r#""*""#, r#""*""#);
    stage.reload();
    assert!(stage.prometheus.is_closed());
    assert!(
        stage
            .aegis
            .refused("admit", "network")
            .contains("no longer admitted")
    );
}

#[test]
fn a_scrape_in_flight_that_nothing_admits_any_more_is_cut_soon_and_visibly() {
    let mut stage = stage();
    // It never answers and never hangs up: only aegis can end this scrape.
    let hung = Service::with(&stage.world.socket("hung"), |_| {
        loop {
            std::thread::park();
        }
    });
    let request = b"GET /hung HTTP/1.1\r\nHost: a\r\n\r\n";
    stage.prometheus.send(request).unwrap();
    hung.asked(1);
    stage.world.settings.allow = allow(r#""127.0.0.1""#, &format!(r#""dns:{OTHER}""#), r#""*""#);
    stage.reload();
    let cut = stage.prometheus.answer(false).unwrap_err();
    assert_eq!(cut.kind(), std::io::ErrorKind::UnexpectedEof, "{cut}");
    let line = stage.aegis.refused("handshake", "identity");
    assert!(line.contains("service=hung"), "{line}");
    let failed =
        r#"aegis_scrape_failures_total{service="hung",stage="handshake",reason="identity"} 1"#;
    let metrics = stage.other.get("/metrics").unwrap().text();
    assert!(metrics.contains(failed), "{metrics}");
}

/// The serial number of the certificate that aegis shows to a new connection.
fn shown(stage: &Stage) -> Vec<u8> {
    let connection = stage.world.prometheus(&stage.aegis).connect().unwrap();
    let chain = connection.stream.conn.peer_certificates().unwrap();
    chain[0].to_vec()
}

fn until_shown(stage: &Stage, expected: &[u8]) {
    let deadline = Instant::now() + PATIENCE;
    while shown(stage) != expected {
        assert!(
            Instant::now() < deadline,
            "the new certificate was never shown"
        );
    }
}

#[test]
fn a_new_certificate_is_shown_without_being_told_and_open_connections_stay() {
    let mut stage = stage();
    let renewed = stage.world.pki.server();
    // One file after the other; in between they do not fit, and the old pair stays.
    let elsewhere = tempfile::tempdir().unwrap();
    renewed.write(elsewhere.path(), "server");
    fs::copy(
        elsewhere.path().join("server.pem"),
        stage.world.path("server.pem"),
    )
    .unwrap();
    stage
        .aegis
        .logged(&["ERROR", "not reloaded", "is not the key of the certificate"]);
    assert_ne!(shown(&stage), renewed.chain[0].to_vec());
    fs::copy(
        elsewhere.path().join("server.key"),
        stage.world.path("server.key"),
    )
    .unwrap();
    until_shown(&stage, &renewed.chain[0]);
    assert_eq!(stage.prometheus.get("/node").unwrap().status, 200);
}

#[test]
fn a_folder_swapped_by_its_link_as_kubernetes_does_is_seen() {
    let mut stage = stage();
    let renewed = stage.world.pki.server();
    for version in ["v1", "v2"] {
        fs::create_dir(stage.world.path(version)).unwrap();
    }
    for file in ["server.pem", "server.key"] {
        fs::rename(stage.world.path(file), stage.world.path("v1").join(file)).unwrap();
        symlink(format!("..data/{file}"), stage.world.path(file)).unwrap();
    }
    renewed.write(&stage.world.path("v2"), "server");
    symlink("v1", stage.world.path("..data")).unwrap();
    stage.reload();
    symlink("v2", stage.world.path("..data_tmp")).unwrap();
    fs::rename(stage.world.path("..data_tmp"), stage.world.path("..data")).unwrap();
    until_shown(&stage, &renewed.chain[0]);
}

#[test]
fn sighup_reloads_though_no_file_has_changed() {
    let stage = stage();
    stage.aegis.signal(Signal::HUP);
    stage.aegis.logged(RELOADED);
}

#[test]
fn what_failed_is_tried_again_though_no_file_has_changed() {
    let stage = stage();
    let (here, gone) = (stage.world.path("services"), stage.world.path("gone"));
    fs::rename(&here, &gone).unwrap();
    stage.aegis.signal(Signal::HUP);
    stage
        .aegis
        .logged(&["ERROR", "not reloaded", "services cannot be opened"]);
    fs::rename(&gone, &here).unwrap();
    stage.aegis.logged(RELOADED);
}

#[test]
fn what_only_a_restart_can_change_is_said_so() {
    let mut stage = stage();
    stage.world.settings.listen = r#"["127.0.0.1:0", "127.0.0.2:0"]"#.to_owned();
    let warning = &["WARN", "change only by a restart"];
    stage.reload();
    stage.aegis.logged(warning);
    assert_eq!(stage.prometheus.get("/node").unwrap().status, 200);
    // What runs is named again.
    stage.world.settings.listen = r#"["127.0.0.1:0"]"#.to_owned();
    stage.reload();
    assert_eq!(stage.aegis.times(warning), 1);
}

#[test]
fn a_directory_that_was_never_in_force_leaves_no_service_behind() {
    let mut stage = stage();
    let elsewhere = stage.world.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let _stray = Service::answering(&elsewhere.join("stray.sock"), answer("up 1\n").into());
    let good = fs::read_to_string(stage.world.path("aegis.toml")).unwrap();
    let bad = good.replace("\"services\"", "\"elsewhere\"");
    let bad = bad.replace("\"server.key\"", "\"absent.key\"");
    fs::write(stage.world.path("aegis.toml"), bad).unwrap();
    stage.aegis.signal(Signal::HUP);
    stage.aegis.logged(&["not reloaded", "absent.key"]);
    fs::write(stage.world.path("aegis.toml"), good).unwrap();
    stage.aegis.logged(RELOADED);
    let told = stage.prometheus.get("/-/sd").unwrap().text();
    assert!(told.contains("/node") && !told.contains("stray"), "{told}");
}

#[test]
fn reload_after_reload_no_scrape_fails_and_nothing_is_left_open() {
    const RELOADS: usize = 100;
    let mut stage = stage();
    let done = Arc::new(AtomicBool::new(false));
    let scraping: Vec<_> = (0..2)
        .map(|_| {
            let (scraper, done) = (stage.world.prometheus(&stage.aegis), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut connection = scraper.connect().unwrap();
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(connection.get("/node").unwrap().status, 200);
                    assert_eq!(scraper.get("/node").status, 200);
                }
            })
        })
        .collect();
    stage.reload();
    let before = stage.prometheus.open_descriptors();
    for _ in 0..RELOADS {
        stage.reload();
    }
    done.store(true, Ordering::Relaxed);
    for scraping in scraping {
        scraping.join().unwrap();
    }
    // Two scrapes may have been under way then; those that ended now are still closing.
    let deadline = Instant::now() + PATIENCE;
    while stage.prometheus.open_descriptors() > before + 4.0 {
        assert!(Instant::now() < deadline, "descriptors are left open");
        std::thread::yield_now();
    }
    assert_eq!(stage.prometheus.get("/node").unwrap().status, 200);
}
