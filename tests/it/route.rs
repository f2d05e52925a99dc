//! Stage 3: what is a request. The grammar itself has its tables and properties beside it.

use crate::harness::{Aegis, Connection, Service, World, answer};

struct Stage {
    world: World,
    aegis: Aegis,
    service: Service,
}

fn stage() -> Stage {
    let mut world = World::new();
    world.settings.rest = "[services.filtered]\nparams = [\"collect[]\"]\n".to_owned();
    world.settings.limits = "head_timeout = \"500ms\"\nidle_timeout = \"2s\"".to_owned();
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    Stage {
        world,
        aegis,
        service,
    }
}

impl Stage {
    fn connect(&self) -> Connection {
        self.world.prometheus(&self.aegis).connect().unwrap()
    }

    /// Sends a raw head; it must get this status, and the connection must be closed.
    fn refuses(&self, head: &str, status: u16, reason: &str) {
        let mut connection = self.connect();
        connection.send(head.as_bytes()).unwrap();
        let answer = connection.answer(head.starts_with("HEAD ")).unwrap();
        assert_eq!(answer.status, status, "{head:?}");
        assert_eq!(answer.header("Aegis-Reason"), None, "{head:?}");
        assert_eq!(answer.header("Connection"), Some("close"), "{head:?}");
        assert!(connection.is_closed(), "{head:?}");
        self.aegis.refused("route", reason);
        assert_eq!(self.service.connections(), 0, "{head:?}");
    }
}

#[test]
fn paths_that_are_not_one_plain_segment_never_reach_a_service() {
    let stage = stage();
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
        stage.refuses(
            &format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
            400,
            "target",
        );
    }
    stage.refuses("HEAD // HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target");
}

#[test]
fn other_methods_are_told_which_ones_there_are() {
    let stage = stage();
    for method in ["POST", "PUT", "DELETE", "CONNECT", "TRACE", "OPTIONS"] {
        stage.refuses(
            &format!("{method} /node HTTP/1.1\r\nHost: a\r\n\r\n"),
            405,
            "method",
        );
    }
    let answer = stage.connect().ask("POST", "/node", "").unwrap();
    assert_eq!(answer.header("Allow"), Some("GET, HEAD"));
}

#[test]
fn a_body_or_the_promise_of_one_is_refused() {
    let stage = stage();
    for header in [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
    ] {
        stage.refuses(
            &format!("GET /node HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n"),
            400,
            "body",
        );
    }
}

#[test]
fn a_smuggled_request_is_never_read() {
    let stage = stage();
    let mut connection = stage.connect();
    let smuggled = "GET /node HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\nGET /node HTTP/1.1\r\nHost: a\r\n\r\n";
    connection.send(smuggled.as_bytes()).unwrap();
    assert_eq!(connection.answer(false).unwrap().status, 400);
    assert!(connection.is_closed());
    assert_eq!(stage.service.connections(), 0);
}

#[test]
fn heads_that_two_parsers_could_read_differently_are_refused() {
    let stage = stage();
    for head in [
        "GET /node HTTP/1.1\nHost: a\n\n",
        "GET /node HTTP/1.1\r\n\r\n",
        "GET /node HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost : a\r\n\r\n",
    ] {
        stage.refuses(head, 400, "syntax");
    }
}

#[test]
fn a_host_header_that_names_no_host_is_refused() {
    let stage = stage();
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
        stage.refuses(&head, 400, "syntax");
    }
    stage
        .aegis
        .logged(&["reason=syntax", r#"detail="the Host header names no host""#]);
    assert!(!stage.aegis.log().join("\n").contains("SECRET"));
    for host in ["node.example.org:9443", "192.0.2.7", "[2001:db8::1]:9443"] {
        let mut connection = stage.connect();
        let head = format!("GET /node HTTP/1.1\r\nHost: {host}\r\n\r\n");
        connection.send(head.as_bytes()).unwrap();
        assert_eq!(connection.answer(false).unwrap().status, 200, "{host}");
    }
}

#[test]
fn no_refusal_of_a_head_request_has_a_body() {
    let stage = stage();
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
        let mut connection = stage.connect();
        connection.send(head.as_bytes()).unwrap();
        let answer = connection.answer(true).unwrap();
        assert_eq!(answer.status, status, "{head:?}");
        let as_for_get = answer.header("Content-Length").unwrap();
        assert!(as_for_get.parse::<usize>().unwrap() > 0, "{head:?}");
        assert!(connection.is_closed(), "{head:?}");
    }
}

#[test]
fn a_head_is_bounded_in_size_and_in_headers() {
    let stage = stage();
    let large = format!(
        "GET /node HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(17 * 1024)
    );
    stage.refuses(&large, 431, "header");
    let many = "X: y\r\n".repeat(100);
    stage.refuses(
        &format!("GET /node HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
        431,
        "header",
    );
    stage.refuses(
        "GET /node HTTP/1.1\r\nHost: a\r\nX-Prometheus-Scrape-Timeout-Seconds: soon\r\n\r\n",
        431,
        "header",
    );
}

#[test]
fn a_head_that_drips_in_is_cut_off() {
    let stage = stage();
    let mut connection = stage.connect();
    connection.send(b"GET /node HTTP/1.1\r\n").unwrap();
    assert!(connection.is_closed());
    stage.aegis.refused("route", "timeout");
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let stage = stage();
    let mut connection = stage.connect();
    assert_eq!(connection.get("/node").unwrap().status, 200);
    assert!(connection.is_closed());
    assert!(
        !stage
            .aegis
            .log()
            .iter()
            .any(|line| line.contains("refused"))
    );
}

#[test]
fn requests_in_one_packet_are_answered_in_order() {
    let stage = stage();
    let mut connection = stage.connect();
    let both = "GET /node HTTP/1.1\r\nHost: a\r\n\r\nGET /absent HTTP/1.1\r\nHost: a\r\n\r\n";
    connection.send(both.as_bytes()).unwrap();
    assert_eq!(connection.answer(false).unwrap().status, 200);
    assert_eq!(connection.answer(false).unwrap().status, 404);
}

#[test]
fn a_query_is_refused_with_the_remedy_unless_the_service_lists_its_parameters() {
    let stage = stage();
    let refused = stage.connect().get("/node?collect[]=cpu").unwrap();
    assert_eq!(refused.status, 400);
    assert_eq!(refused.header("Aegis-Reason"), Some("target"));
    assert!(refused.text().contains("params"), "{}", refused.text());
    stage.aegis.refused("route", "target");
    assert_eq!(stage.service.connections(), 0);
    // It is no failure of a service that was not asked.
    let metrics = stage.connect().get("/metrics").unwrap().text();
    let counted = r#"aegis_requests_refused_total{stage="route",reason="target"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    let failures = metrics
        .lines()
        .filter(|line| line.starts_with("aegis_scrape_failures"));
    assert_eq!(failures.collect::<Vec<_>>(), Vec::<&str>::new());

    let filtered = stage.world.service("filtered", answer("up 1\n"));
    let passed = stage
        .connect()
        .get("/filtered?collect%5B%5D=cpu&collect[]=a%20b")
        .unwrap();
    assert_eq!(passed.status, 200);
    let request = &filtered.requests()[0];
    assert!(
        request.starts_with("GET /metrics?collect%5B%5D=cpu&collect%5B%5D=a+b HTTP/1.1\r\n"),
        "{request}"
    );
    let asked = filtered.connections();
    let other = stage.connect().get("/filtered?other=1").unwrap();
    assert_eq!(other.status, 400);
    // In another encoding it would be another value on its way.
    let latin = stage.connect().get("/filtered?collect[]=caf%E9").unwrap();
    assert_eq!(
        (latin.status, latin.header("Aegis-Reason")),
        (400, Some("target"))
    );
    assert!(latin.text().contains("UTF-8"), "{}", latin.text());
    assert_eq!(filtered.connections(), asked);
}

#[test]
fn foreign_text_is_escaped_in_the_log() {
    let stage = stage();
    let mut connection = stage.connect();
    connection
        .send("GET /\u{1b}[31m\u{f6} HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes())
        .unwrap();
    assert_eq!(connection.answer(false).unwrap().status, 400);
    let log = stage.aegis.log().join("\n");
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[test]
fn no_query_and_no_password_gets_into_the_log() {
    let stage = stage();
    for target in [
        "/node?token=SECRET",
        "/-/sd?token=SECRET",
        "/node/metrics?token=SECRET",
        "/node/metrics#SECRET",
        "/?SECRET",
        "?SECRET",
        "http://user:SECRET@host/node",
    ] {
        assert_eq!(stage.connect().get(target).unwrap().status, 400, "{target}");
    }
    stage
        .aegis
        .logged(&["reason=target", r#"detail="/node/metrics?...""#]);
    stage
        .aegis
        .logged(&["reason=target", r#"detail="it does not begin with /""#]);
    let log = stage.aegis.log().join("\n");
    assert!(!log.contains("SECRET"), "{log}");
}
