//! Stage 3: what is a valid request. Unit tests in src cover the grammar itself.

use crate::harness::{Aegis, Connection, Service, World, answer};

struct Fixture {
    world: World,
    aegis: Aegis,
    service: Service,
}

fn fixture() -> Fixture {
    let mut world = World::new();
    world.settings.rest = "[services.filtered]\nparams = [\"collect[]\"]\n".to_owned();
    world.settings.limits = "head_timeout = \"500ms\"\nidle_timeout = \"2s\"".to_owned();
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    Fixture {
        world,
        aegis,
        service,
    }
}

impl Fixture {
    fn connect(&self) -> Connection {
        self.world.prometheus(&self.aegis).connect().unwrap()
    }

    /// Sends a raw head, and asserts this status and that aegis closes the connection.
    fn assert_refused(&self, head: &str, status: u16, reason: &str) {
        let mut connection = self.connect();
        connection.send(head.as_bytes()).unwrap();
        let answer = connection.answer(head.starts_with("HEAD ")).unwrap();
        assert_eq!(answer.status, status, "{head:?}");
        assert_eq!(answer.header("Aegis-Reason"), None, "{head:?}");
        assert_eq!(answer.header("Connection"), Some("close"), "{head:?}");
        assert!(connection.is_closed(), "{head:?}");
        self.aegis.logged_refusal("route", reason);
        assert_eq!(self.service.connections(), 0, "{head:?}");
    }
}

#[test]
fn paths_other_than_one_plain_segment_never_reach_a_service() {
    let fixture = fixture();
    for target in [
        "//node",
        "/node/",
        "/../node",
        "/%6eode",
        "/node%00",
        "/a/node",
        "*",
        "http://a/node",
        "/-/healthy/",
        "/-/sd?a=b",
    ] {
        fixture.assert_refused(
            &format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
            400,
            "target",
        );
    }
    fixture.assert_refused("HEAD // HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target");
}

#[test]
fn other_methods_get_405_with_allow() {
    let fixture = fixture();
    for method in ["POST", "PUT", "DELETE", "CONNECT", "TRACE", "OPTIONS"] {
        fixture.assert_refused(
            &format!("{method} /node HTTP/1.1\r\nHost: a\r\n\r\n"),
            405,
            "method",
        );
    }
    let answer = fixture.connect().request("POST", "/node", "").unwrap();
    assert_eq!(answer.header("Allow"), Some("GET, HEAD"));
}

#[test]
fn a_request_with_a_body_is_refused() {
    let fixture = fixture();
    for header in [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
    ] {
        fixture.assert_refused(
            &format!("GET /node HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n"),
            400,
            "body",
        );
    }
}

#[test]
fn a_smuggled_request_is_never_read() {
    let fixture = fixture();
    let mut connection = fixture.connect();
    let smuggled = "GET /node HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\nGET /node HTTP/1.1\r\nHost: a\r\n\r\n";
    connection.send(smuggled.as_bytes()).unwrap();
    assert_eq!(connection.answer(false).unwrap().status, 400);
    assert!(connection.is_closed());
    assert_eq!(fixture.service.connections(), 0);
}

#[test]
fn ambiguous_heads_are_refused() {
    let fixture = fixture();
    for head in [
        "GET /node HTTP/1.1\nHost: a\n\n",
        "GET /node HTTP/1.1\r\n\r\n",
        "GET /node HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost : a\r\n\r\n",
    ] {
        fixture.assert_refused(head, 400, "syntax");
    }
}

#[test]
fn an_invalid_host_header_is_refused() {
    let fixture = fixture();
    for host in [
        "a, b",
        "a b",
        "http://a/",
        "a/b",
        "user:SECRET@a",
        "a:b",
        "[::1",
        "",
    ] {
        let head = format!("GET /node HTTP/1.1\r\nHost: {host}\r\n\r\n");
        fixture.assert_refused(&head, 400, "syntax");
    }
    fixture
        .aegis
        .logged(&["reason=syntax", r#"detail="the Host header names no host""#]);
    assert!(!fixture.aegis.log().join("\n").contains("SECRET"));
    for host in ["node.example.org:9443", "192.0.2.7", "[2001:db8::1]:9443"] {
        let mut connection = fixture.connect();
        let head = format!("GET /node HTTP/1.1\r\nHost: {host}\r\n\r\n");
        connection.send(head.as_bytes()).unwrap();
        assert_eq!(connection.answer(false).unwrap().status, 200, "{host}");
    }
}

#[test]
fn refusals_of_head_requests_have_no_body() {
    let fixture = fixture();
    let large = format!(
        "HEAD /node HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(17 * 1024)
    );
    for (head, status) in [
        ("HEAD /node HTTP/1.1\nHost: a\n\n", 400),
        ("HEAD /node HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("HEAD //node HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\r\nHEAD //node HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("HEAD /node HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        ("HEAD /node HTTP/1.0\r\nHost: a\r\n\r\n", 400),
        (
            "HEAD /node HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
            400,
        ),
        (&large, 431),
    ] {
        let mut connection = fixture.connect();
        connection.send(head.as_bytes()).unwrap();
        let answer = connection.answer(true).unwrap();
        assert_eq!(answer.status, status, "{head:?}");
        let as_for_get = answer.header("Content-Length").unwrap();
        assert!(as_for_get.parse::<usize>().unwrap() > 0, "{head:?}");
        assert!(connection.is_closed(), "{head:?}");
    }
}

#[test]
fn a_head_above_the_size_or_header_limit_is_refused() {
    let fixture = fixture();
    let large = format!(
        "GET /node HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(17 * 1024)
    );
    fixture.assert_refused(&large, 431, "header");
    let many = "X: y\r\n".repeat(100);
    fixture.assert_refused(
        &format!("GET /node HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
        431,
        "header",
    );
    fixture.assert_refused(
        "GET /node HTTP/1.1\r\nHost: a\r\nX-Prometheus-Scrape-Timeout-Seconds: soon\r\n\r\n",
        431,
        "header",
    );
}

#[test]
fn a_slow_request_head_is_cut_off_at_its_deadline() {
    let fixture = fixture();
    let mut connection = fixture.connect();
    connection.send(b"GET /node HTTP/1.1\r\n").unwrap();
    assert!(connection.is_closed());
    fixture.aegis.logged_refusal("route", "timeout");
}

#[test]
fn an_idle_connection_is_closed_silently() {
    let fixture = fixture();
    let mut connection = fixture.connect();
    assert_eq!(connection.get("/node").unwrap().status, 200);
    assert!(connection.is_closed());
    assert!(
        !fixture
            .aegis
            .log()
            .iter()
            .any(|line| line.contains("refused"))
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let fixture = fixture();
    let mut connection = fixture.connect();
    let both = "GET /node HTTP/1.1\r\nHost: a\r\n\r\nGET /absent HTTP/1.1\r\nHost: a\r\n\r\n";
    connection.send(both.as_bytes()).unwrap();
    assert_eq!(connection.answer(false).unwrap().status, 200);
    assert_eq!(connection.answer(false).unwrap().status, 404);
}

#[test]
fn a_query_with_unlisted_parameters_is_refused_with_a_remedy() {
    let fixture = fixture();
    let refused = fixture.connect().get("/node?collect[]=cpu").unwrap();
    assert_eq!(refused.status, 400);
    assert_eq!(refused.header("Aegis-Reason"), Some("target"));
    assert!(refused.text().contains("params"), "{}", refused.text());
    fixture.aegis.logged_refusal("route", "target");
    assert_eq!(fixture.service.connections(), 0);
    // This does not count as a failure of the service, which aegis did not contact.
    let metrics = fixture.connect().get("/metrics").unwrap().text();
    let counted = r#"aegis_requests_refused_total{stage="route",reason="target"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    let failures = metrics
        .lines()
        .filter(|line| line.starts_with("aegis_scrape_failures"));
    assert_eq!(failures.collect::<Vec<_>>(), Vec::<&str>::new());

    let filtered = fixture.world.service("filtered", answer("up 1\n"));
    let passed = fixture
        .connect()
        .get("/filtered?collect%5B%5D=cpu&collect[]=a%20b")
        .unwrap();
    assert_eq!(passed.status, 200);
    let request = &filtered.requests()[0];
    assert!(
        request.starts_with("GET /metrics?collect%5B%5D=cpu&collect%5B%5D=a+b HTTP/1.1\r\n"),
        "{request}"
    );
    let connections = filtered.connections();
    let other = fixture.connect().get("/filtered?other=1").unwrap();
    assert_eq!(other.status, 400);
    // Decoding another encoding would change the value.
    let latin = fixture.connect().get("/filtered?collect[]=caf%E9").unwrap();
    assert_eq!(
        (latin.status, latin.header("Aegis-Reason")),
        (400, Some("target"))
    );
    assert!(latin.text().contains("UTF-8"), "{}", latin.text());
    assert_eq!(filtered.connections(), connections);
}

#[test]
fn foreign_text_is_escaped_in_the_log() {
    let fixture = fixture();
    let mut connection = fixture.connect();
    connection
        .send("GET /\u{1b}[31m\u{f6} HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes())
        .unwrap();
    assert_eq!(connection.answer(false).unwrap().status, 400);
    let log = fixture.aegis.log().join("\n");
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[test]
fn queries_and_passwords_are_not_logged() {
    let fixture = fixture();
    for target in [
        "/node?token=SECRET",
        "/-/sd?token=SECRET",
        "/node/metrics?token=SECRET",
        "/node/metrics#SECRET",
        "/?SECRET",
        "?SECRET",
        "http://user:SECRET@host/node",
    ] {
        assert_eq!(
            fixture.connect().get(target).unwrap().status,
            400,
            "{target}"
        );
    }
    fixture
        .aegis
        .logged(&["reason=target", r#"detail="/node/metrics?...""#]);
    fixture
        .aegis
        .logged(&["reason=target", r#"detail="it does not begin with /""#]);
    let log = fixture.aegis.log().join("\n");
    assert!(!log.contains("SECRET"), "{log}");
}
