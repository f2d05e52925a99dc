//! A reload with broken files applies removals of access at once, and delays grants until all files
//! are valid.

mod host;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::aegis::command;
use crate::harness::{
    Connection, PROMETHEUS, Pki, Scraper, Service, World, admin_socket, allow, answer, wait_until,
};
use crate::reload::DAY;
use host::{BREAKAGES, Breakage, Host, LEAVER, Lost, NEWCOMER, after, before, remove, write};

/// Runs one breakage, and returns how long aegis took to close the last revoked connection.
fn run_breakage(host: &mut Host, breakage: &Breakage) -> Duration {
    let Breakage { what, lost, .. } = *breakage;
    let scrapers = [
        (host.scraper_named(PROMETHEUS), None),
        (host.scraper_named(LEAVER), Some(Lost::Policy)),
        (host.scraper(&host.of_removed_ca.client()), Some(Lost::Cas)),
        (host.scraper(&host.revoked), Some(Lost::Crls)),
    ];
    let connections = scrapers.map(|(scraper, goes_by)| {
        let mut connection = scraper.connect().unwrap();
        assert_eq!(connection.get("/node").unwrap().status, 200, "{what}");
        (
            scraper,
            connection,
            goes_by.filter(|goes_by| *goes_by != lost),
        )
    });
    host.revoke_access(breakage);
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    let mut stay: Vec<(Scraper, Connection)> = Vec::new();
    for (scraper, mut connection, goes_by) in connections {
        match goes_by {
            Some(_) => {
                assert!(connection.is_closed(), "{what}: {:?}", goes_by.map(name));
                longest = longest.max(begun.elapsed());
                assert!(scraper.try_get("/node").is_err(), "{what}");
            }
            None => stay.push((scraper, connection)),
        }
    }
    for (scraper, mut connection) in stay {
        assert_eq!(connection.get("/node").unwrap().status, 200, "{what}");
        assert_eq!(scraper.get("/node").status, 200, "{what}");
    }
    assert!(
        host.scraper_named(NEWCOMER).try_get("/node").is_err(),
        "{what}"
    );
    let of_new_ca = host.scraper(&host.of_new_ca.client());
    assert!(of_new_ca.try_get("/node").is_err(), "{what}");
    assert_eq!(host.own_metric("aegis_config_last_reload_successful"), 0.0);
    assert_eq!(host.own_metric("aegis_config_restricted"), 1.0, "{what}");
    longest
}

fn name(lost: Lost) -> &'static str {
    match lost {
        Lost::Nothing => "nothing",
        Lost::Policy => "policy",
        Lost::Cas => "CAs",
        Lost::Crls => "CRLs",
    }
}

/// With `AEGIS_BROKEN_RELOADS`, it runs this many rounds and limits the longest time (`.ci/run`).
#[test]
fn a_broken_reload_still_removes_scrapers_and_grants_nothing() {
    let rounds = std::env::var("AEGIS_BROKEN_RELOADS").ok();
    let rounds: Option<usize> = rounds.map(|rounds| rounds.parse().unwrap());
    let mut host = Host::new();
    let all = BREAKAGES.iter().cycle();
    let mut times = Vec::new();
    for breakage in all.take(rounds.unwrap_or(BREAKAGES.len())) {
        times.push(run_breakage(&mut host, breakage));
        host.restore();
        assert_eq!(host.own_metric("aegis_config_restricted"), 0.0);
    }
    if rounds.is_some() {
        times.sort_unstable();
        let longest = times[times.len() - 1];
        let median = times[times.len() / 2];
        eprintln!(
            "{} rounds: median {median:?}, longest {longest:?}",
            times.len()
        );
        assert!(longest <= Duration::from_millis(1500), "{longest:?}");
    }
}

#[test]
fn a_restricted_configuration_is_reported_in_log_page_answer_and_metric() {
    let mut host = Host::new();
    let breakage = BREAKAGES.iter().find(|breakage| breakage.what == "no key");
    host.revoke_access(breakage.unwrap());
    let output = host.request_reload();
    let restricted =
        "removals in the new allow, client_ca_file, client_crl_files are in force already";
    assert!(output.starts_with("not reloaded: the previous configuration stays in force\n"));
    assert!(
        output.contains(restricted) && output.contains("server.key"),
        "{output}"
    );
    let line = host.aegis.logged(&["WARN", "restricted: "]);
    assert!(
        line.contains("allow client_ca_file client_crl_files"),
        "{line}"
    );
    host.aegis.logged(&["ERROR", "not reloaded", "server.key"]);
    let socket = host.world.path("admin.sock");
    let page = admin_socket::request(&socket, "GET", "/", "").text();
    assert!(
        page.contains("are already in force; its new grants are not"),
        "{page}"
    );
    let json = admin_socket::request(&socket, "GET", "/", "Accept: application/json\r\n").text();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let parts = ["allow", "client_ca_file", "client_crl_files"];
    assert_eq!(
        json["configuration"]["restricted"],
        serde_json::json!(parts)
    );
    host.restore();
    let json = admin_socket::request(&socket, "GET", "/", "Accept: application/json\r\n").text();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["configuration"]["restricted"], serde_json::json!([]));
}

#[test]
fn a_broken_reload_that_removes_nothing_restricts_nothing() {
    let mut host = Host::new();
    let mut connection = host.scraper_named(PROMETHEUS).connect().unwrap();
    remove(&host.world, "server.key");
    let more = format!(r#""dns:{PROMETHEUS}", "dns:{LEAVER}", "dns:{NEWCOMER}""#);
    host.world.settings.allow = before() + &allow(r#""127.0.0.1""#, &more, r#""*""#);
    host.world.write_config();
    assert!(host.request_reload().starts_with("not reloaded"));
    assert_eq!(host.own_metric("aegis_config_restricted"), 0.0);
    assert_eq!(host.aegis.count_logged(&["restricted: "]), 0);
    assert!(host.scraper_named(NEWCOMER).try_get("/node").is_err());
    assert_eq!(host.scraper_named(LEAVER).get("/node").status, 200);
    assert_eq!(connection.get("/node").unwrap().status, 200);
}

#[test]
fn a_part_that_breaks_later_restores_no_access() {
    let mut host = Host::new();
    let no_key = BREAKAGES.iter().find(|breakage| breakage.what == "no key");
    host.revoke_access(no_key.unwrap());
    assert!(host.request_reload().starts_with("not reloaded"));
    // Now none of the files can be read.
    for file in ["ca.pem", "crl.pem", "aegis.toml"] {
        write(&host.world, file, "junk = [");
    }
    assert!(host.request_reload().starts_with("not reloaded"));
    let gone = [
        host.scraper_named(LEAVER),
        host.scraper(&host.of_removed_ca.client()),
        host.scraper(&host.revoked),
    ];
    for scraper in gone {
        assert!(scraper.try_get("/node").is_err());
    }
    assert_eq!(host.scraper_named(PROMETHEUS).get("/node").status, 200);
    host.restore();
    assert_eq!(host.scraper_named(LEAVER).get("/node").status, 200);
    assert_eq!(host.scraper(&host.revoked).get("/node").status, 200);
}

#[test]
fn access_restored_while_another_part_is_broken_is_allowed_again() {
    let mut host = Host::new();
    let no_key = BREAKAGES.iter().find(|breakage| breakage.what == "no key");
    host.revoke_access(no_key.unwrap());
    assert!(host.request_reload().starts_with("not reloaded"));
    assert!(host.scraper_named(LEAVER).try_get("/node").is_err());
    host.world.settings.allow = before();
    host.world.write_config();
    assert!(host.request_reload().starts_with("not reloaded"));
    assert_eq!(host.scraper_named(LEAVER).get("/node").status, 200);
    assert!(host.scraper(&host.revoked).try_get("/node").is_err());
}

#[test]
fn a_scrape_in_flight_that_is_allowed_again_is_not_aborted() {
    let host = Host::new();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = Service::with(&host.world.socket("slow"), move |stream| {
        use std::io::Write as _;
        wait.lock().unwrap().recv().unwrap();
        stream.write_all(answer("up 1\n").as_bytes()).unwrap();
    });
    let mut connection = host.scraper_named(LEAVER).connect().unwrap();
    connection
        .send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    slow.wait_for_requests(1);
    let text = fs::read_to_string(host.world.path("aegis.toml")).unwrap();
    write(&host.world, "aegis.toml", &text.replace(LEAVER, NEWCOMER));
    assert_eq!(host.request_reload(), "reloaded\n");
    write(&host.world, "aegis.toml", &text);
    assert_eq!(host.request_reload(), "reloaded\n");
    // When aegis aborts this second scrape, the grace period of the first one is over.
    let mut leaving = host.scraper(&host.revoked).connect().unwrap();
    leaving
        .send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    slow.wait_for_requests(2);
    let crl = host.world.pki.crl_with([&host.revoked], |_| {});
    write(&host.world, "crl.pem", &crl);
    assert!(leaving.answer(false).is_err());
    go.send(()).unwrap();
    assert_eq!(connection.answer(false).unwrap().status, 200);
}

#[test]
fn an_emptied_entry_grants_nothing() {
    let mut host = Host::new();
    let mut leaving = host.scraper_named(LEAVER).connect().unwrap();
    let mut staying = host.scraper_named(PROMETHEUS).connect().unwrap();
    for connection in [&mut leaving, &mut staying] {
        assert_eq!(connection.get("/node").unwrap().status, 200);
    }
    let entry = |name: &str| allow(r#""127.0.0.1""#, name, r#""*""#);
    let prometheus = entry(&format!(r#""dns:{PROMETHEUS}""#));
    host.world.settings.allow = prometheus.clone() + &entry("");
    host.world.write_config();
    assert!(host.request_reload().contains("is empty"));
    assert!(leaving.is_closed());
    assert!(host.scraper_named(LEAVER).try_get("/node").is_err());
    assert_eq!(staying.get("/node").unwrap().status, 200);
    // The last entry is removed as well.
    host.world.settings.allow = entry("");
    host.world.write_config();
    assert!(host.request_reload().contains("is empty"));
    assert!(staying.is_closed());
}

#[test]
fn an_expired_ca_is_skipped_with_a_warning_if_another_is_valid() {
    let mut host = Host::new();
    let expired = Pki::named_with("expired CA", |params| {
        params.not_after = (std::time::SystemTime::now() - DAY).into();
    });
    let early = Pki::named_with("early CA", |params| {
        params.not_before = (std::time::SystemTime::now() + DAY).into();
    });
    let all = host.world.pki.ca_pem() + &expired.ca_pem() + &early.ca_pem();
    write(&host.world, "ca.pem", &all);
    let crls = expired.crl_with([], |_| {}) + &early.crl_with([], |_| {});
    write(&host.world, "other.pem", &crls);
    assert_eq!(host.request_reload(), "reloaded\n");
    for name in ["expired CA", "early CA"] {
        let line = host.aegis.logged(&["WARN", name, "is valid only from"]);
        assert!(line.contains("trusts no certificate of that CA"), "{line}");
    }
    for ca in [&expired, &early] {
        assert!(host.scraper(&ca.client()).try_get("/node").is_err());
    }
    let line = host
        .aegis
        .logged(&["reason=expired", "the client CA (CN=expired CA) expired at"]);
    assert!(line.contains("stage=handshake"), "{line}");
    host.aegis.logged(&[
        "reason=expired",
        "the client CA (CN=early CA) is valid only from",
    ]);
    assert_eq!(host.scraper_named(PROMETHEUS).get("/node").status, 200);
    let not_after = r#"aegis_tls_certificate_not_after_timestamp_seconds{role="client_ca"}"#;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!(host.own_metric(not_after) < now);
    // Removals apply at once: an expired CA is not an error.
    host.world.settings.allow = after();
    host.world.write_config();
    wait_until(|| host.scraper_named(LEAVER).try_get("/node").is_err());
    assert_eq!(host.own_metric("aegis_config_last_reload_successful"), 1.0);
    let check = |folder: &Path| {
        let mut check = command();
        check
            .args(["check", "--config"])
            .arg(folder.join("aegis.toml"));
        check.output().unwrap()
    };
    let checked = check(host.world.folder.path());
    let stdout = String::from_utf8(checked.stdout).unwrap();
    assert!(
        checked.status.success() && stdout.contains("expired CA"),
        "{stdout}"
    );
}

#[test]
fn an_expiring_ca_closes_open_connections_of_its_scrapers() {
    let host = Host::new();
    let soon = std::time::SystemTime::now() + Duration::from_secs(8);
    let brief = Pki::named_with("brief CA", |params| params.not_after = soon.into());
    let all = host.world.pki.ca_pem() + &brief.ca_pem();
    write(&host.world, "ca.pem", &all);
    write(&host.world, "other.pem", &brief.crl_with([], |_| {}));
    assert_eq!(host.request_reload(), "reloaded\n");
    let mut connection = host.scraper(&brief.client()).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().status, 200);
    let mut other = host.scraper_named(PROMETHEUS).connect().unwrap();
    crate::lifecycle::scrape_until_closed(&mut connection);
    host.aegis.logged(&[
        "no longer admitted",
        "the client CA (CN=brief CA) expired at",
    ]);
    assert_eq!(other.get("/node").unwrap().status, 200);
}

#[test]
fn without_a_valid_client_ca_aegis_is_not_ready() {
    let mut world = World::new();
    let soon = std::time::SystemTime::now() + Duration::from_secs(8);
    let brief = Pki::named_with("brief CA", |params| params.not_after = soon.into());
    fs::write(world.path("ca.pem"), brief.ca_pem()).unwrap();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    let _aegis = world.start();
    let ready = || admin_socket::request(&world.path("admin.sock"), "GET", "/-/ready", "");
    assert_eq!(ready().text(), "ready\n");
    wait_until(|| ready().status == 503);
    assert_eq!(ready().text(), "not ready: every client CA has expired\n");
}

#[test]
fn a_reload_does_not_extend_the_deadline_of_a_request_head() {
    let mut host = Host::new();
    host.world.settings.limits += "\nhead_timeout = \"3s\"";
    host.world.write_config();
    assert_eq!(host.request_reload(), "reloaded\n");
    let mut connection = host.scraper_named(PROMETHEUS).connect().unwrap();
    connection.send(b"GET /node HT").unwrap();
    let begun = Instant::now();
    // Each reload makes a new gate. A timer that each reload restarts would never end.
    while host.aegis.count_logged(&["reason=timeout"]) == 0 {
        assert_eq!(host.request_reload(), "reloaded\n");
        assert!(
            begun.elapsed() < crate::harness::PATIENCE,
            "it has all the time of the world"
        );
    }
    assert!(connection.is_closed());
}
