//! Stage 6 against the heads of answers: types that say two things, and heads that two readers
//! could take in two ways or that never end.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use crate::harness::Service;
use crate::hostile_services::{says, stage};

#[test]
fn an_answer_without_a_type_is_passed_on_as_prometheus_text() {
    let stage = stage("");
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n",
        "HTTP/1.1 200 OK\r\nContent-Type:\r\nContent-Length: 5\r\n\r\nup 1\n",
        "HTTP/1.1 200 OK\r\nContent-Type: \t \r\nContent-Length: 5\r\n\r\nup 1\n",
    ] {
        let _service = Service::with(&stage.world.socket("node"), says(said));
        let got = stage.scraper().get("/node");
        let expected = Some("text/plain; version=0.0.4");
        assert_eq!((got.status, got.header("Content-Type")), (200, expected));
    }
}

#[test]
fn a_type_that_a_browser_could_read_otherwise_is_refused() {
    let stage = stage("");
    for content_type in [
        "text/plain;,text/html",
        "text/plain, text/html",
        "application/openmetrics-text;, text/html;charset=utf-8",
        "text/plain; a=\",text/html\"",
        "text/plain; text/html",
        "text/plain text/html",
        "text/plain; a=\"b",
    ] {
        let said = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: 5\r\n\r\nup 1\n"
        );
        let said = move |stream: &mut UnixStream| drop(stream.write_all(said.as_bytes()));
        stage.fails(said, 502, "content_type");
    }
    let twice = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Type:\r\nContent-Length: 5\r\n\r\nup 1\n";
    stage.fails(says(twice), 502, "malformed");
}

#[test]
fn what_is_not_metrics_is_refused() {
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    stage("").fails(says(html), 502, "content_type");
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    stage("").fails(says(json), 502, "content_type");
}

#[test]
fn what_requests_may_not_have_answers_may_not_have_either() {
    let stage = stage("");
    for (said, why) in [
        (
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n",
            "an empty line before the answer",
        ),
        (
            "\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n",
            "an empty line before the answer",
        ),
        (
            "HTTP/1.1 200 OK\nContent-Length: 5\n\nup 1\n",
            "a bare line feed in the head",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\nup 1\n",
            "a bare line feed in the head",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nup 1\n",
            "a bare line feed in the head",
        ),
        (
            "HTTP/1.1 103 Early Hints\n\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n",
            "a bare line feed in the head",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip br\r\nContent-Length: 5\r\n\r\nup 1\n",
            "an unusable content-encoding",
        ),
    ] {
        stage.fails(says(said), 502, "malformed");
        stage.aegis.logged(&["reason=malformed", why]);
    }
}

#[test]
fn a_head_beyond_its_bound_is_too_large() {
    let head = |stream: &mut UnixStream| {
        let header = format!("X: {}\r\n", "x".repeat(10_000));
        drop(write!(
            stream,
            "HTTP/1.1 200 OK\r\n{}\r\n",
            header.repeat(7)
        ));
    };
    stage("").fails(head, 502, "too_large");
}

#[test]
fn endless_interim_answers_are_malformed() {
    let stage = stage(r#"scrape_timeout = "1h""#);
    for interim in [
        &b"HTTP/1.1 100 Continue\r\n\r\n"[..],
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        b"HTTP/1.1 199 Odd\r\nContent-Length: 5\r\n\r\n",
    ] {
        let flood = move |stream: &mut UnixStream| while stream.write_all(interim).is_ok() {};
        stage.fails(flood, 502, "malformed");
    }
}

#[test]
fn endless_empty_lines_before_an_answer_end() {
    let stage = stage(r#"scrape_timeout = "1h""#);
    let flood = |stream: &mut UnixStream| while stream.write_all(&b"\r\n".repeat(2048)).is_ok() {};
    stage.fails(flood, 502, "malformed");
}
