//! Passes bytes of a scraper through all stages after the handshake, and compares the result with a
//! naive parser.
//!
//! The naive parser decides the result of each head: a valid request must get 200, and an invalid
//! one must not.
#![no_main]

use std::cell::RefCell;

use aegis::scrape::ConnectionEnd;
use aegis_fuzz::answers::{self, Answer, Body};
use aegis_fuzz::requests::{self, Method, Next, Request, Target};
use aegis_fuzz::services::METRICS;
use aegis_fuzz::world::World;
use libfuzzer_sys::fuzz_target;

thread_local!(static WORLD: RefCell<World> = RefCell::new(world()));

fn world() -> World {
    let mut world = World::new();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nSet-Cookie: CANARY\r\n\r\n",
        METRICS.len()
    );
    let answer = [head.as_bytes(), METRICS].concat();
    world.services.answer_with(&answer, usize::MAX);
    world
}

fuzz_target!(|script: &[u8]| {
    // The result does not depend on how the request is split.
    let piece = [1, 7, 100, usize::MAX][script.len() % 4];
    WORLD.with_borrow_mut(|world| {
        let conversation = world.converse(script, piece);
        assert_eq!(conversation.ended, ConnectionEnd::Closed);
        let mut received = &conversation.received[..];
        let mut requests = conversation.requests.iter();
        judge(script, &mut received, &mut requests);
        assert!(
            received.is_empty(),
            "more than was asked for: {}",
            received.escape_ascii()
        );
        assert!(
            requests.next().is_none(),
            "the service was asked more often"
        );
    });
});

fn judge<'a>(
    mut script: &[u8],
    received: &mut &[u8],
    requests: &mut impl Iterator<Item = &'a Vec<u8>>,
) {
    loop {
        match requests::next(&mut script) {
            Next::Good(request) => {
                let answer = answers::next(received, request.method).expect("an answer");
                judge_good(&request, &answer, requests);
                assert_eq!(answer.header("Connection").is_some(), request.closes);
                if request.closes {
                    return;
                }
            }
            Next::Bad(head) => {
                return judge_bad(&answers::next(received, method_of(head)).expect("an answer"));
            }
            Next::Broken => {
                return judge_bad(&answers::next(received, method_of(script)).expect("an answer"));
            }
            Next::Over => return,
        }
    }
}

/// The method of a refused request: a refusal of HEAD has no body.
fn method_of(head: &[u8]) -> Method {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    match head.starts_with(b"HEAD ") {
        true => Method::Head,
        false => Method::Get,
    }
}

fn judge_bad(answer: &Answer) {
    assert!([400, 405, 431].contains(&answer.status), "{answer:?}");
    assert_eq!(answer.header("Connection"), Some("close"));
    assert_eq!(answer.header("Aegis-Reason"), None);
    answer.whole();
}

fn judge_good<'a>(
    request: &Request,
    answer: &Answer,
    requests: &mut impl Iterator<Item = &'a Vec<u8>>,
) {
    let passed = request.query.as_deref();
    let passed = passed.map(|query| requests::passed_on(query, "collect[]"));
    let reason = answer.header("Aegis-Reason");
    answer.whole();
    let Target::Service(service) = &request.target else {
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        return;
    };
    let expected = match (service.as_str(), &passed) {
        ("node", Some(None)) => (400, Some("target")),
        ("metrics", Some(_)) => (400, Some("target")),
        ("node" | "metrics", _) => (200, None),
        ("escape" | "again", _) => (502, Some("escapes")),
        ("file", _) => (502, Some("not_a_socket")),
        ("gone", _) => (502, Some("missing")),
        _ => (404, None),
    };
    // Its time may be over at each step: while it waits for a place, at the lookup of the socket, after that.
    let late = [
        (503, Some("busy")),
        (502, Some("connect")),
        (504, Some("timeout")),
    ];
    let is_late = late.contains(&(answer.status, reason));
    let was_late = request.hurries && service == "node" && is_late;
    assert!(
        was_late || (answer.status, reason) == expected,
        "{request:?} {answer:?}"
    );
    if service == "node" && answer.status != 400 {
        let request = match requests.next() {
            None => return assert!(was_late, "the service was not asked"),
            // The time was over after aegis had connected.
            Some(request) if was_late && request.is_empty() => return,
            Some(request) => request,
        };
        assert_forwarded(request, passed.flatten().as_deref());
    }
    if service == "node" && answer.status == 200 && request.method == Method::Get {
        assert_eq!(answer.body, Body::Whole(METRICS.to_vec()));
    }
    if service == "metrics" && answer.status == 200 && request.method == Method::Get {
        assert!(answer.whole().starts_with(b"# ") || !answer.whole().is_empty());
    }
}

/// The service gets a request that aegis built, whatever the scraper sent.
fn assert_forwarded(request: &[u8], query: Option<&str>) {
    let request = std::str::from_utf8(request).expect("a request in ASCII");
    let lines = request.strip_suffix("\r\n\r\n").expect("a whole head");
    assert!(
        lines
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n')),
        "{request:?}"
    );
    let mut lines = lines.split("\r\n");
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    assert_eq!(
        lines.next().unwrap(),
        format!("GET /metrics{query} HTTP/1.1")
    );
    let mut seen = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a header");
        match name {
            "host" => assert_eq!(value, "localhost"),
            "user-agent" => assert!(value.starts_with("aegis/")),
            "connection" => assert_eq!(value, "close"),
            "x-prometheus-scrape-timeout-seconds" => {
                let seconds: f64 = value.parse().unwrap();
                assert!((0.0..=300.0).contains(&seconds));
            }
            "accept" | "accept-encoding" => {}
            _ => panic!("{line:?}"),
        }
        assert!(!seen.contains(&name), "two {name}");
        seen.push(name);
    }
}
