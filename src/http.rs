//! The HTTP/1.1 server for scrapers and the admin socket: reads a head, parses a request, writes an
//! answer.
//!
//! # Why not hyper's server
//!
//! Towards services aegis is a client and uses hyper. Towards scrapers it is a server with two
//! methods, no request body and paths of one segment. hyper's server does much more, and three of its
//! properties are in the way:
//!
//! - It parses and normalizes a request before it hands it over. Here the grammar of service names
//!   applies to the received bytes, so that a path cannot be read in two ways.
//! - It accepts what scrapers never need: bodies, `Expect`, bare line feeds, several `Host` headers.
//!   Here each of them is refused with a reason.
//! - It decides how an answer ends. Here a truncated body must abort the connection, one scrape must
//!   never see the bytes of another, and the memory of each connection has a known bound.
//!
//! The price: no HTTP/2, no trailers, no parallel pipelining (requests are answered in order), and less
//! experience in the field than hyper's server has. Five things hold this code to the standard:
//! `httparse` splits the head, a property test compares every accepted head with hyper's server
//! (`scrape/route/reference.rs`), `cargo fuzz` compares with a second grammar, the conformance kit
//! (`tests/conformance`) sends it, nginx and HAProxy the same good and malformed requests, and
//! `.ci/heads` compares it with hyper, Go, nginx and HAProxy on random heads.

mod reader;
mod request;
mod response;
mod view;

pub(crate) use reader::{ReadHead, RequestReader};
#[cfg(test)]
pub(crate) use request::MAX_FORWARDED_BYTES;
pub(crate) use request::{
    BodyPolicy, Persistence, READ_METHODS, Reply, Request, TIMEOUT_HEADER, parse,
};
pub(crate) use response::{
    Failure, LocalResponse, NO_SCRIPTS, ReasonVisibility, end_of_head, respond_local,
    respond_refusal,
};
pub(crate) use view::{Refresh, View};

/// Whether an `Accept` header names a media type.
#[must_use]
pub(crate) fn accepts(accept: Option<&str>, media_type: &str) -> bool {
    let mut ranges = accept.unwrap_or_default().split(',');
    ranges.any(|range| {
        let range = range.split(';').next().unwrap_or_default();
        range.trim().eq_ignore_ascii_case(media_type)
    })
}

/// A refused target without parts that may be secret: a query, or a URL with a password.
pub(crate) fn loggable(raw: &str) -> String {
    let path = raw.split_inclusive(['?', '#']).next().unwrap_or_default();
    if !raw.starts_with('/') {
        "it does not begin with /".to_owned()
    } else if path == raw {
        raw.to_owned()
    } else {
        format!("{path}...")
    }
}
