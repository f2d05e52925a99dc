//! Aegis's own metrics: complete, valid in both formats, and bounded under any input.

use std::time::Duration;

use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::harness::{Certified, Pki, World, admin_socket, answer, metric};

/// When a certificate became valid, and when it expires.
fn validity(certified: &Certified) -> [f64; 2] {
    let (_, certificate) = X509Certificate::from_der(&certified.chain[0]).unwrap();
    let validity = certificate.validity();
    [validity.not_before, validity.not_after].map(|time| time.timestamp() as f64)
}

#[test]
fn own_metrics_have_the_requested_format() {
    let world = World::new();
    let _node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    connection.get("/node").unwrap();
    let classic = connection.get("/metrics").unwrap();
    assert_eq!(
        classic.header("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = classic.text();
    assert!(text.contains("\n# TYPE aegis_scrapes_total counter\naegis_scrapes_total{"));
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));

    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3\r\n";
    let open = connection.request("GET", "/metrics", accept).unwrap();
    assert_eq!(
        open.header("Content-Type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = open.text();
    assert!(text.contains("\n# TYPE aegis_scrapes counter\naegis_scrapes_total{"));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn own_metrics_report_expiry_services_and_process() {
    let mut world = World::new();
    world.settings.limits = "connections = 7".to_owned();
    let _services = ["a", "b"].map(|name| world.service(name, answer("up 1\n")));
    world.settings.tls = "client_crl_files = [\"crl.pem\"]".to_owned();
    let revoked = world.pki.client();
    let crl = world.pki.crl_revoking(&revoked, Duration::from_secs(7200));
    std::fs::write(world.path("crl.pem"), crl).unwrap();
    let aegis = world.start();
    let soon = std::time::SystemTime::now() + Duration::from_secs(900);
    let client = world
        .pki
        .client_with(|params| params.not_after = soon.into());
    let scraper = world.scraper(&aegis, Some(&client));
    let text = scraper.get("/metrics").text();
    let is =
        |series: &str, expected: f64| assert_eq!(metric(&text, series), Some(expected), "{series}");
    is("aegis_services", 2.0);
    is("aegis_connections", 1.0);
    is("aegis_connections_max", 7.0);
    let times = |role: &str| {
        ["not_before", "not_after"].map(|time| {
            let name = format!("aegis_tls_certificate_{time}_timestamp_seconds");
            metric(&text, &format!(r#"{name}{{role="{role}"}}"#)).unwrap()
        })
    };
    assert_eq!(times("client"), validity(&client));
    for role in ["server", "client_ca"] {
        let [from, until] = times(role);
        assert!(from < until, "{role}: {from} {until}");
    }
    let next_update = metric(&text, "aegis_tls_crl_next_update_timestamp_seconds").unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now..now + 3700.0).contains(&next_update), "{next_update}");
    let positive = [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "process_max_fds",
    ];
    for series in positive {
        assert!(
            metric(&text, series).is_some_and(|value| value >= 0.0),
            "{series}\n{text}"
        );
    }
}

#[test]
fn process_open_fds_counts_each_open_connection() {
    let world = World::new();
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let mut connection = scraper.connect().unwrap();
    let before = connection.open_descriptors();
    let more: Vec<_> = (0..10).map(|_| scraper.connect().unwrap()).collect();
    aegis.logged_times(1 + more.len(), &["connected"]);
    assert_eq!(connection.open_descriptors(), before + 10.0);
}

#[test]
fn a_head_request_counts_no_body_bytes() {
    let world = World::new();
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(
        connection.request("HEAD", "/metrics", "").unwrap().status,
        200
    );
    let text = connection.get("/metrics").unwrap().text();
    let of = |what: &str| metric(&text, &format!("{what}{{service=\"metrics\"}}"));
    assert_eq!(of("aegis_scrapes_total"), Some(1.0));
    assert_eq!(of("aegis_scrape_response_bytes_total"), Some(0.0));
}

#[test]
fn without_a_crl_there_is_no_crl_expiry_metric() {
    let world = World::new();
    let aegis = world.start();
    let text = world.prometheus(&aegis).get("/metrics").text();
    assert_eq!(
        metric(&text, "aegis_tls_crl_next_update_timestamp_seconds"),
        None
    );
    assert!(metric(&text, "aegis_services").is_some());
}

#[test]
fn unknown_service_names_create_no_series() {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    world.settings.limits = "connection_rate = 10000\nconnection_burst = 10000".to_owned();
    let _node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let series = || {
        let own = admin_socket::request(&world.path("admin.sock"), "GET", "/metrics", "").text();
        own.lines().filter(|line| !line.starts_with('#')).count()
    };
    let stranger = Pki::new();
    let name = |number: u32| format!("name-{number}.example.org");
    let throw = |number: u32, connection: &mut crate::harness::Connection| {
        assert_eq!(
            connection.get(&format!("/name-{number}")).unwrap().status,
            404
        );
        let query = format!("/node?name-{number}=1");
        assert_eq!(connection.get(&query).unwrap().status, 400);
        let header = format!("X-Name-{number}: 1\r\nAccept: text/name-{number}\r\n");
        assert_eq!(
            connection.request("GET", "/node", &header).unwrap().status,
            200
        );
    };
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    throw(0, &mut connection);
    let certificate = |pki: &Pki, number: u32| {
        pki.client_with(|params| {
            params.subject_alt_names =
                vec![rcgen::SanType::DnsName(name(number).try_into().unwrap())];
        })
    };
    let strangers = |number: u32| {
        for pki in [&world.pki, &stranger] {
            let shown = certificate(pki, number);
            assert!(
                world
                    .scraper(&aegis, Some(&shown))
                    .try_get("/node")
                    .is_err()
            );
        }
    };
    strangers(0);
    let before = series();
    for number in 1..400 {
        throw(number, &mut connection);
    }
    (1..20).for_each(strangers);
    assert_eq!(series(), before);
}

#[test]
fn series_of_vanished_services_are_bounded() {
    let world = World::new();
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    for round in ["a", "b", "c"] {
        let sockets = (0..600).map(|number| format!("{round}-{number}"));
        for socket in sockets.clone() {
            std::fs::write(world.socket(&socket), "").unwrap();
        }
        // Listing the services evicts the vanished ones.
        assert_eq!(connection.get("/-/sd").unwrap().status, 200);
        for socket in sockets {
            let failed = connection.get(&format!("/{socket}")).unwrap();
            assert_eq!(failed.header("Aegis-Reason"), Some("not_a_socket"));
            std::fs::remove_file(world.socket(&socket)).unwrap();
        }
    }
    let own = connection.get("/metrics").unwrap().text();
    let counted = own
        .lines()
        .filter(|line| line.starts_with("aegis_scrapes_total{"));
    let counted = counted.count();
    assert!((600..=1000).contains(&counted), "{counted}");
    let own = world.prometheus(&aegis).get("/metrics").text();
    assert!(
        own.contains("aegis_scrapes_total{service=\"c-599\"} 1"),
        "{own}"
    );
}
