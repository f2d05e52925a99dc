//! Stage 6: services that attack with the head of an answer: ambiguous types, ambiguous heads and
//! endless ones.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use crate::harness::Service;
use crate::hostile_services::{fixture, respond_with};

#[test]
fn an_answer_without_a_type_is_relayed_as_prometheus_text() {
    let fixture = fixture("");
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n",
        "HTTP/1.1 200 OK\r\nContent-Type:\r\nContent-Length: 5\r\n\r\nup 1\n",
        "HTTP/1.1 200 OK\r\nContent-Type: \t \r\nContent-Length: 5\r\n\r\nup 1\n",
    ] {
        let _service = Service::with(&fixture.world.socket("node"), respond_with(response));
        let got = fixture.scraper().get("/node");
        let expected = Some("text/plain; version=0.0.4");
        assert_eq!((got.status, got.header("Content-Type")), (200, expected));
    }
}

#[test]
fn a_type_that_browsers_could_misread_is_refused() {
    let fixture = fixture("");
    for content_type in [
        "text/plain;,text/html",
        "text/plain, text/html",
        "application/openmetrics-text;, text/html;charset=utf-8",
        "text/plain; a=\",text/html\"",
        "text/plain; text/html",
        "text/plain text/html",
        "text/plain; a=\"b",
    ] {
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: 5\r\n\r\nup 1\n"
        );
        let response = move |stream: &mut UnixStream| drop(stream.write_all(response.as_bytes()));
        fixture.assert_scrape_fails(response, 502, "content_type");
    }
    let twice = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Type:\r\nContent-Length: 5\r\n\r\nup 1\n";
    fixture.assert_scrape_fails(respond_with(twice), 502, "malformed");
}

#[test]
fn other_types_than_metrics_are_refused() {
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    fixture("").assert_scrape_fails(respond_with(html), 502, "content_type");
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    fixture("").assert_scrape_fails(respond_with(json), 502, "content_type");
}

#[test]
fn ambiguous_response_heads_are_refused() {
    let fixture = fixture("");
    for (output, why) in [
        (
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n",
            "an empty line before the response",
        ),
        (
            "\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n",
            "an empty line before the response",
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
        fixture.assert_scrape_fails(respond_with(output), 502, "malformed");
        fixture.aegis.logged(&["reason=malformed", why]);
    }
}

#[test]
fn a_response_head_above_its_limit_is_refused() {
    let head = |stream: &mut UnixStream| {
        let header = format!("X: {}\r\n", "x".repeat(10_000));
        drop(write!(
            stream,
            "HTTP/1.1 200 OK\r\n{}\r\n",
            header.repeat(7)
        ));
    };
    fixture("").assert_scrape_fails(head, 502, "too_large");
}

#[test]
fn endless_interim_answers_are_malformed() {
    let fixture = fixture(r#"scrape_timeout = "1h""#);
    for interim in [
        &b"HTTP/1.1 100 Continue\r\n\r\n"[..],
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        b"HTTP/1.1 199 Odd\r\nContent-Length: 5\r\n\r\n",
    ] {
        let flood = move |stream: &mut UnixStream| while stream.write_all(interim).is_ok() {};
        fixture.assert_scrape_fails(flood, 502, "malformed");
    }
}

#[test]
fn endless_empty_lines_before_an_answer_are_cut_off() {
    let fixture = fixture(r#"scrape_timeout = "1h""#);
    let flood = |stream: &mut UnixStream| while stream.write_all(&b"\r\n".repeat(2048)).is_ok() {};
    fixture.assert_scrape_fails(flood, 502, "malformed");
}
