//! Bytes of a service, through the real upstream and respond stages, to a scraper in memory.
//!
//! What comes out is a whole and well-formed 200 with exactly the service's body, by a reader
//! that knows nothing of hyper; or it is visibly broken: an error, or an answer that says itself
//! that more was to come. The request behind it on the same connection must not notice.
#![no_main]

use std::cell::RefCell;

use aegis::scrape::Ended;
use aegis_fuzz::answers::{self, Answer, Body, Said};
use aegis_fuzz::requests::Method;
use aegis_fuzz::world::World;
use libfuzzer_sys::fuzz_target;

thread_local!(static WORLD: RefCell<World> = RefCell::new(World::new()));

fuzz_target!(|said: &[u8]| {
    // In one piece or in several, but each costs a turn of the event loop.
    let piece = said.len() / [1, 1, 3, 16][said.len() % 4] + 1;
    WORLD.with_borrow_mut(|world| {
        world.services.answer_with(said, piece);
        for method in [Method::Get, Method::Head] {
            scrape(world, said, method);
        }
    });
});

fn scrape(world: &mut World, said: &[u8], method: Method) {
    let verb = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
    };
    let script = format!(
        "{verb} /node HTTP/1.1\r\nHost: a\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"
    );
    let conversation = world.converse(script.as_bytes(), usize::MAX);
    assert_eq!(conversation.asked.len(), 1);
    let mut told = &conversation.told[..];
    let answer = answers::next(&mut told, method).expect("an answer");
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
    let policy = answer.header("Content-Security-Policy");
    assert_eq!(policy, Some("sandbox; default-src 'none'"));
    match (&answer.body, answer.status) {
        (Body::Whole(body), 200) => {
            judge(&answer, answers::said(said), body, method);
        }
        (Body::Whole(_), status) => {
            assert!([502, 504].contains(&status), "{answer:?}");
            let reason = answer.header("Aegis-Reason").expect("a reason");
            assert!(REASONS.contains(&reason), "{answer:?}");
        }
        (Body::Broken(_), status) => {
            assert_eq!(
                (status, conversation.ended),
                (200, Ended::Cut),
                "{answer:?}"
            );
            assert!(told.is_empty());
            return;
        }
    }
    let healthy = answers::next(&mut told, Method::Get).expect("the next answer");
    assert_eq!(
        (healthy.status, healthy.header("Aegis-Reason")),
        (200, None)
    );
    assert!(told.is_empty(), "{}", told.escape_ascii());
    assert_eq!(conversation.ended, Ended::Closed);
}

/// An answer that passed for whole must be just that.
fn judge(answer: &Answer, said: Option<Said>, body: &[u8], method: Method) {
    let said = said.expect("the service gave an answer");
    let named = |name| answer.header(name).map(|value| value.as_bytes().to_vec());
    let not_empty = |value: Option<Vec<u8>>| value.filter(|value| !value.is_empty());
    let content_type = not_empty(said.content_type);
    let content_type = content_type.unwrap_or_else(|| b"text/plain; version=0.0.4".to_vec());
    assert_eq!(named("Content-Type"), Some(content_type));
    assert_eq!(named("Content-Encoding"), not_empty(said.content_encoding));
    let content_type = answer.header("Content-Type").expect("a type");
    assert!(answers::is_of_metrics(content_type), "{content_type:?}");
    if method == Method::Get {
        assert_eq!(Some(body), said.body.as_deref());
        assert!(body.len() <= LARGEST_BODY);
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
