//! Stage 4: the policy is applied to every request.

use crate::harness::{World, allow, answer};

#[test]
fn unknown_and_not_granted_get_identical_bytes_and_different_log_reasons() {
    let mut world = World::new();
    world.settings.allow = allow(r#""127.0.0.1/32""#, r#""*""#, r#""team-a-*""#);
    let payroll = world.service("payroll", answer("salary 1\n"));
    let _web = world.service("team-a-web", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let not_granted = connection.get("/payroll").unwrap();
    let neither = connection.get("/absent").unwrap();
    let unknown = connection.get("/team-a-absent").unwrap();
    assert_eq!(not_granted.status, 404);
    assert_eq!(
        (&not_granted.head, &not_granted.body),
        (&unknown.head, &unknown.body)
    );
    assert_eq!(
        (&not_granted.head, &not_granted.body),
        (&neither.head, &neither.body)
    );
    let with_query = connection.get("/team-a-absent?x=1").unwrap();
    assert_eq!(
        (&not_granted.head, &not_granted.body),
        (&with_query.head, &with_query.body)
    );
    assert_eq!(unknown.header("Aegis-Reason"), None);
    assert!(
        aegis
            .logged_refusal("authorize", "not_granted")
            .contains("service=payroll")
    );
    assert!(
        aegis
            .logged_refusal("authorize", "unknown_service")
            .contains("service=team-a-absent")
    );
    // The connection stays open, and a granted service is served on it.
    assert_eq!(connection.get("/team-a-web").unwrap().status, 200);
    assert_eq!(payroll.connections(), 0);
}

#[test]
fn a_query_does_not_reveal_whether_a_service_is_granted() {
    let mut world = World::new();
    world.settings.allow = allow(r#""127.0.0.1/32""#, r#""*""#, r#""node""#);
    let _payroll = world.service("payroll", answer("salary 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let not_granted = scraper.get("/payroll?x=1");
    assert_eq!(
        (not_granted.status, not_granted.header("Aegis-Reason")),
        (404, None)
    );
    assert_eq!(scraper.get("/absent?x=1").head, not_granted.head);
}

#[test]
fn one_entry_must_match_in_all_three_columns() {
    let mut world = World::new();
    let name = format!(r#""dns:{}""#, crate::harness::PROMETHEUS);
    world.settings.allow = allow(r#""127.0.0.1/32""#, &name, r#""granted""#)
        + &allow(
            r#""127.0.0.1/32""#,
            r#""dns:other.example.org""#,
            r#""other""#,
        )
        + &allow(r#""192.0.2.0/24""#, &name, r#""elsewhere""#);
    let services =
        ["granted", "other", "elsewhere"].map(|name| world.service(name, answer("up 1\n")));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/granted").status, 200);
    assert_eq!(scraper.get("/other").status, 404);
    assert_eq!(scraper.get("/elsewhere").status, 404);
    assert_eq!(services.map(|service| service.connections()), [1, 0, 0]);
}

#[test]
fn own_metrics_are_shown_to_scrapers_that_are_granted_them() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/node").status, 200);
    assert_eq!(scraper.get("/absent").status, 404);
    assert_eq!(scraper.get("/absent-too?x=1").status, 404);
    assert_eq!(scraper.get("/metrics?x=1").status, 400);
    assert!(world.scraper(&aegis, None).try_get("/node").is_err());
    let own = scraper.get("/metrics");
    assert_eq!(own.status, 200);
    for line in [
        r#"aegis_scrapes_total{service="node"} 1"#,
        r#"aegis_scrape_response_bytes_total{service="node"} 5"#,
        r#"aegis_requests_refused_total{stage="authorize",reason="unknown_service"} 2"#,
        r#"aegis_connections_refused_total{stage="handshake",reason="no_certificate"} 1"#,
    ] {
        assert!(
            own.text().lines().any(|found| found == line),
            "{line}\n{}",
            own.text()
        );
    }
    // The name of an unknown service does not become a label.
    assert!(!own.text().contains("absent"));
    aegis.logged(&["scraped", "service=metrics"]);

    let mut narrow = World::new();
    narrow.settings.allow = allow(r#""127.0.0.1/32""#, r#""*""#, r#""node""#);
    let aegis = narrow.start();
    assert_eq!(narrow.prometheus(&aegis).get("/metrics").status, 404);
}
