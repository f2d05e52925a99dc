//! Passes bytes of a service through the upstream and respond stages to a scraper in memory.
//!
//! The result is a complete and well-formed 200 with exactly the service's body, as a reader
//! without hyper sees it; or it is visibly broken: an error, or an answer that is recognizably
//! incomplete. The next request on the same connection must succeed.
#![no_main]

use std::cell::RefCell;

use aegis::scrape::ConnectionEnd;
use aegis_fuzz::answers::{self, Answer, Body, Parsed};
use aegis_fuzz::requests::Method;
use aegis_fuzz::world::World;
use libfuzzer_sys::fuzz_target;

thread_local!(static WORLD: RefCell<World> = RefCell::new(World::new()));

fuzz_target!(|response: &[u8]| {
    // In one piece or in several. Each piece needs an iteration of the event loop.
    let piece = response.len() / [1, 1, 3, 16][response.len() % 4] + 1;
    WORLD.with_borrow_mut(|world| {
        world.services.answer_with(response, piece);
        for method in [Method::Get, Method::Head] {
            scrape(world, response, method);
        }
    });
});

fn scrape(world: &mut World, response: &[u8], method: Method) {
    let verb = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
    };
    let script = format!(
        "{verb} /node HTTP/1.1\r\nHost: a\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"
    );
    let conversation = world.converse(script.as_bytes(), usize::MAX);
    assert_eq!(conversation.requests.len(), 1);
    let mut received = &conversation.received[..];
    let answer = answers::next(&mut received, method).expect("an answer");
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
    let policy = answer.header("Content-Security-Policy");
    assert_eq!(policy, Some("sandbox; default-src 'none'"));
    match (&answer.body, answer.status) {
        (Body::Whole(body), 200) => {
            judge(&answer, answers::parse(response), body, method);
        }
        (Body::Whole(_), status) => {
            assert!([502, 504].contains(&status), "{answer:?}");
            let reason = answer.header("Aegis-Reason").expect("a reason");
            assert!(REASONS.contains(&reason), "{answer:?}");
        }
        (Body::Broken(_), status) => {
            assert_eq!(
                (status, conversation.ended),
                (200, ConnectionEnd::Aborted),
                "{answer:?}"
            );
            assert!(received.is_empty());
            return;
        }
    }
    let healthy = answers::next(&mut received, Method::Get).expect("the next answer");
    assert_eq!(
        (healthy.status, healthy.header("Aegis-Reason")),
        (200, None)
    );
    assert!(received.is_empty(), "{}", received.escape_ascii());
    assert_eq!(conversation.ended, ConnectionEnd::Closed);
}

/// An answer that looks complete must be complete.
fn judge(answer: &Answer, parsed: Option<Parsed>, body: &[u8], method: Method) {
    let parsed = parsed.expect("the service gave an answer");
    let named = |name| answer.header(name).map(|value| value.as_bytes().to_vec());
    let not_empty = |value: Option<Vec<u8>>| value.filter(|value| !value.is_empty());
    let content_type = not_empty(parsed.content_type);
    let content_type = content_type.unwrap_or_else(|| b"text/plain; version=0.0.4".to_vec());
    assert_eq!(named("Content-Type"), Some(content_type));
    assert_eq!(
        named("Content-Encoding"),
        not_empty(parsed.content_encoding)
    );
    let content_type = answer.header("Content-Type").expect("a type");
    assert!(answers::is_of_metrics(content_type), "{content_type:?}");
    if method == Method::Get {
        assert_eq!(Some(body), parsed.body.as_deref());
        assert!(!body.is_empty());
        let coding = answer.header("Content-Encoding").unwrap_or("identity");
        if parsed.ends_with_connection && coding.eq_ignore_ascii_case("identity") {
            assert!(ends_well(content_type, body), "{}", body.escape_ascii());
        }
        assert!(body.len() <= LARGEST_BODY);
    }
}

/// Whether a body ends as its format must, if nothing else tells its end.
fn ends_well(content_type: &str, body: &[u8]) -> bool {
    let format = content_type.split([';', ' ']).next().unwrap_or_default();
    match format.to_ascii_lowercase().as_str() {
        "text/plain" => body.ends_with(b"\n"),
        "application/openmetrics-text" => {
            let mut lines = body
                .strip_suffix(b"\n")
                .unwrap_or(body)
                .rsplit(|byte| *byte == b'\n');
            lines.next() == Some(b"# EOF")
        }
        _ => true,
    }
}

/// `max_body` of the service.
const LARGEST_BODY: usize = 2048;

const REASONS: &[&str] = &[
    "content_type",
    "hung_up",
    "malformed",
    "status",
    "too_large",
];
