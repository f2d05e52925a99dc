//! The reason of a failure reaches the people who look at the scraper.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use crate::harness::service::until_closed;
use crate::harness::{Answer, Service, World, answer};

/// A service for each reason, by its name.
fn failing_services(world: &World) -> Vec<Service> {
    // The file stays without a listener.
    drop(UnixListener::bind(world.socket("connect")).unwrap());
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nup 1\n";
    vec![
        world.service("permission", answer("up 1\n")),
        world.service("status", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
        world.service("content_type", html),
        world.service("malformed", "hello\r\n\r\n"),
        world.service("too_large", answer("up 1\n")),
        Service::with(&world.socket("timeout"), until_closed),
        Service::with(&world.socket("busy"), until_closed),
    ]
}

/// Service and reason, status and sentence.
const FAILURES: [(&str, &str, &str); 9] = [
    (
        "missing",
        "502 Bad Gateway",
        "the service's socket does not exist",
    ),
    (
        "connect",
        "502 Bad Gateway",
        "nothing accepts connections on the socket",
    ),
    (
        "permission",
        "502 Bad Gateway",
        "aegis has no permission to connect to the service's socket",
    ),
    (
        "status",
        "502 Bad Gateway",
        "the service did not answer with status 200",
    ),
    (
        "content_type",
        "502 Bad Gateway",
        "the content type of the service's answer is not metrics (content_type)",
    ),
    (
        "malformed",
        "502 Bad Gateway",
        "the service's answer is empty or not well-formed HTTP",
    ),
    (
        "too_large",
        "502 Bad Gateway",
        "the service's answer is too large (max_body, or limits.response_head)",
    ),
    (
        "timeout",
        "504 Gateway Timeout",
        "the service did not finish its answer in time",
    ),
    (
        "busy",
        "503 Service Unavailable",
        "too many scrapes of the service are in flight (max_concurrent)",
    ),
];

#[test]
fn every_failure_of_a_granted_service_names_its_reason_and_remedy() {
    let mut world = World::new();
    world.settings.rest = "[services.missing]\n[services.timeout]\ntimeout = \"300ms\"\n[services.too_large]\nmax_body = 4\n[services.busy]\nmax_concurrent = 1\n".to_owned();
    let _services = failing_services(&world);
    let aegis = world.start_without_privilege();
    let mode = Permissions::from_mode(0o000);
    std::fs::set_permissions(world.socket("permission"), mode).unwrap();
    let scraper = world.prometheus(&aegis);
    let mut holds_the_turn = scraper.connect().unwrap();
    holds_the_turn
        .send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    _services[6].wait_for_requests(1);
    for (service, status, sentence) in FAILURES {
        let headers = "X-Prometheus-Scrape-Timeout-Seconds: 0.5\r\n";
        let mut connection = scraper.connect().unwrap();
        let got = connection
            .request("GET", &format!("/{service}"), headers)
            .unwrap();
        assert_eq!(got.header("Aegis-Reason"), Some(service));
        let line = got.head.lines().next().unwrap();
        assert_eq!(line, format!("HTTP/1.1 {status}: {service}, {sentence}"));
        let text = got.text();
        assert!(
            text.starts_with(&format!("{service}, {sentence}\n")),
            "{text}"
        );
        assert_eq!(text.lines().count(), 2, "{text}");
    }
    let line = aegis.logged_refusal("upstream", "permission");
    for fact in [
        "aegis runs as uid ",
        "belongs to uid ",
        "mode 0000",
        "write access",
    ] {
        assert!(line.contains(fact), "{line}");
    }
}

#[test]
fn refusals_of_services_that_are_not_granted_have_no_reason() {
    let mut world = World::new();
    world.settings.allow = world.settings.allow.replace("\"*\"", "\"node\"");
    let _service = world.service("other", "not HTTP");
    let aegis = world.start();
    let got: Answer = world.prometheus(&aegis).get("/other");
    assert!(
        got.head.starts_with("HTTP/1.1 404 Not Found\r\n"),
        "{}",
        got.head
    );
    assert_eq!(
        (got.text().as_str(), got.header("Aegis-Reason")),
        ("no such service\n", None)
    );
}

#[test]
fn a_scraper_with_http_1_0_is_told_which_version_is_needed() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    connection
        .send(b"GET /node HTTP/1.0\r\nHost: a\r\n\r\n")
        .unwrap();
    let got = connection.answer(false).unwrap();
    assert_eq!(got.status, 400);
    assert!(
        got.text().contains("aegis needs HTTP/1.1"),
        "{}",
        got.text()
    );
    aegis.logged_refusal("route", "version");
}
