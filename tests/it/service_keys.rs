//! The keys of `[services.NAME]` that shape the request to a service, and what its answer may be.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use crate::harness::{Answer, Service, World, answer};
use crate::hostile_services::fixture;

/// An answer without a length, which ends with the connection.
fn without_length(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.0 200 OK\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// Scrapes one service that has these settings and gives this answer.
fn scrape(settings: &str, answer: Vec<u8>) -> Answer {
    let mut world = World::new();
    world.settings.rest = format!("[services.node]\n{settings}\n");
    let _service = Service::answering(&world.socket("node"), answer);
    let aegis = world.start();
    world.prometheus(&aegis).get("/node")
}

fn reason(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.header("Aegis-Reason"))
}

#[test]
fn an_answer_that_ends_with_the_connection_is_relayed_whole() {
    const TEXT: &str = "Content-Type: text/plain; version=0.0.4\r\n";
    const OPENMETRICS: &str = "Content-Type: application/openmetrics-text; version=1.0.0\r\n";
    const PROTOBUF: &str = "Content-Type: application/vnd.google.protobuf\r\n";
    let world = World::new();
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let large = "up 1\n".repeat(100_000);
    let gzip = format!("{TEXT}Content-Encoding: gzip\r\n");
    for (number, (headers, body)) in [
        (TEXT, "up 1\n"),
        ("", "up 1\r\nup 2\n"),
        (OPENMETRICS, "up 1\n# EOF\n"),
        (OPENMETRICS, "# EOF"),
        (PROTOBUF, "\u{1}up"),
        (&gzip, "\u{1f}not really"),
        (TEXT, &large),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("service{number}");
        let _service = world.service(&name, without_length(headers, body.as_bytes()));
        let got = connection.get(&format!("/{name}")).unwrap();
        assert_eq!((got.status, got.text().as_str()), (200, body), "{headers}");
        assert_eq!(got.header("Transfer-Encoding"), Some("chunked"));
    }
}

#[test]
fn an_answer_that_may_be_cut_is_reported_before_it_is_sent() {
    const OPENMETRICS: &str = "Content-Type: application/openmetrics-text; version=1.0.0\r\n";
    const IDENTITY: &str = "Content-Type: text/plain\r\nContent-Encoding: identity\r\n";
    let world = World::new();
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    for (headers, body) in [
        ("Content-Type: text/plain\r\n", "up 1\nup"),
        (IDENTITY, "up 1\nup"),
        (OPENMETRICS, "up 1\n"),
        (OPENMETRICS, "up 1\n# EO"),
    ] {
        let _service = world.service("node", without_length(headers, body.as_bytes()));
        let got = connection.get("/node").unwrap();
        assert_eq!(reason(&got), (502, Some("hung_up")), "{headers}{body}");
    }
}

#[test]
fn a_long_answer_that_may_be_cut_breaks_off() {
    let body = "up 1\n".repeat(100_000);
    let sent = without_length("Content-Type: text/plain\r\n", &body.as_bytes()[..499_999]);
    let write = move |stream: &mut UnixStream| drop(stream.write_all(&sent));
    fixture("").assert_scrape_breaks_off(write, "hung_up");
}

#[test]
fn an_answer_without_a_length_is_malformed_if_close_delimited_is_false() {
    let sent = || without_length("Content-Type: text/plain\r\n", b"up 1\n");
    let got = scrape("close_delimited = false", sent());
    assert_eq!(reason(&got), (502, Some("malformed")));
    assert_eq!(scrape("close_delimited = true", sent()).text(), "up 1\n");
}

#[test]
fn an_empty_answer_is_malformed() {
    const TEXT: &str = "Content-Type: text/plain\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let world = World::new();
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    for sent in [
        answer("").into_bytes(),
        chunked.as_bytes().to_vec(),
        without_length(TEXT, b""),
    ] {
        let _service = world.service("node", sent);
        let got = connection.get("/node").unwrap();
        assert_eq!(reason(&got), (502, Some("malformed")));
        let line = aegis.logged_refusal("respond", "malformed");
        assert!(line.contains("empty answer"), "{line}");
    }
    let _service = world.service("node", answer(""));
    let got = connection.request("HEAD", "/node", "").unwrap();
    assert_eq!(reason(&got), (502, Some("malformed")));
}

#[test]
fn host_and_query_reach_the_service() {
    let mut world = World::new();
    world.settings.rest = "[services.php]\nhost = \"php.example.org:8080\"\npath = \"/status?openmetrics\"\nparams = [\"pool\"]\n".to_owned();
    let php = world.service("php", answer("up 1\n"));
    world.settings.rest += "[services.caddy]\nhost = \"\"\n";
    let [plain, caddy] = ["plain", "caddy"].map(|name| world.service(name, answer("up 1\n")));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/php").status, 200);
    assert_eq!(scraper.get("/php?pool=www").status, 200);
    let repeated = scraper.get("/php?openmetrics=no");
    assert_eq!(reason(&repeated), (400, Some("target")));
    assert_eq!(scraper.get("/plain").status, 200);
    assert_eq!(scraper.get("/caddy").status, 200);
    assert!(caddy.requests().concat().contains("\r\nhost: \r\n"));
    let [first, second] = php.requests().try_into().unwrap();
    assert!(first.starts_with("GET /status?openmetrics HTTP/1.1\r\n"));
    assert!(
        first.contains("\r\nhost: php.example.org:8080\r\n"),
        "{first}"
    );
    assert!(second.starts_with("GET /status?openmetrics&pool=www HTTP/1.1\r\n"));
    let plain = plain.requests().concat();
    assert!(plain.contains("\r\nhost: localhost\r\n"), "{plain}");
}

#[test]
fn the_configured_content_type_replaces_that_of_the_service() {
    const TYPE: &str = "text/plain; version=0.0.4";
    for theirs in [
        "Content-Type: text/html; charset=utf-8\r\n",
        "Content-Type: application/octet-stream\r\n",
        "Content-Type: text/plain\r\nContent-Type: text/html\r\n",
        "",
    ] {
        let sent = format!("HTTP/1.1 200 OK\r\n{theirs}Content-Length: 5\r\n\r\nup 1\n");
        let got = scrape(&format!("content_type = {TYPE:?}"), sent.into_bytes());
        assert_eq!((got.status, got.text().as_str()), (200, "up 1\n"));
        assert_eq!(got.header("Content-Type"), Some(TYPE));
    }
    let sent = without_length("Content-Type: text/html\r\n", b"up 1");
    let got = scrape(&format!("content_type = {TYPE:?}"), sent);
    assert_eq!(reason(&got), (502, Some("hung_up")));
}

#[test]
fn a_redirect_is_logged_with_its_location() {
    let fixture = fixture("");
    let sent =
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: /metrics/\r\nContent-Length: 0\r\n\r\n";
    let _service = fixture.world.service("node", sent);
    assert_eq!(fixture.scraper().get("/node").status, 502);
    let line = fixture.aegis.logged_refusal("respond", "status");
    assert!(
        line.contains("status 307, a redirect to /metrics/"),
        "{line}"
    );
}
