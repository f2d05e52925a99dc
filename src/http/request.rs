//! Parses the head of a request into a [`Request`].
//!
//! It decodes nothing, and refuses every sign of a body, so that all readers agree where a request
//! ends.

use std::time::Duration;

use httparse::{EMPTY_HEADER, Header, Status};

use crate::config::Limits;
use crate::refusal::{Refusal, Refused};
use crate::text::host;

/// A request: its target, and the few headers that reach a service.
#[derive(Debug)]
pub(crate) struct Request<T> {
    pub(crate) target: T,
    pub(crate) query: Option<String>,
    pub(crate) accept: Option<String>,
    pub(crate) accept_encoding: Option<String>,
    /// The scraper's own timeout, if it sends one.
    pub(crate) timeout: Option<Duration>,
    pub(crate) reply: Reply,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) body: BodyPolicy,
    pub(crate) persistence: Persistence,
}

/// Whether an answer has its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyPolicy {
    /// `GET`, `POST`
    Send,
    /// `HEAD`
    Omit,
}

/// Whether the connection stays open after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    KeepAlive,
    Close,
}

impl Reply {
    /// How to answer a head that cannot be parsed. The connection closes after the answer.
    pub(crate) fn to_unparsed(head: &[u8]) -> Self {
        // An empty line before a request is ignored (RFC 9112, section 2.2).
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        Self {
            body: if head.starts_with(b"HEAD ") {
                BodyPolicy::Omit
            } else {
                BodyPolicy::Send
            },
            persistence: Persistence::Close,
        }
    }
}

/// The methods of all targets that have no side effect.
pub(crate) const READ_METHODS: &[&str] = &["GET", "HEAD"];

/// Parses a complete head. `methods_of` returns the methods of a raw target, `parse_target` its parsed
/// form and its query.
///
/// # Errors
/// Any refusal of [`crate::refusal::Stage::Route`] except the timeout.
pub(crate) fn parse<T>(
    head: &[u8],
    limits: &Limits,
    methods_of: impl Fn(&str) -> &'static [&'static str],
    parse_target: impl FnOnce(&str) -> Result<(T, Option<String>), Refused>,
) -> Result<Request<T>, Refused> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Ok(Status::Complete(_) | Status::Partial) => return Err(Refusal::Syntax.into()),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused::new(Refusal::Header, "too many headers"));
        }
        // A byte that no target may contain, such as NUL, after a known method.
        Err(httparse::Error::Token) if head.starts_with(b"GET ") || head.starts_with(b"HEAD ") => {
            return Err(Refusal::Target.into());
        }
        Err(error) => return Err(Refused::new(Refusal::Syntax, error)),
    }
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    if !methods_of(target).contains(&method) {
        return Err(Refused::new(Refusal::Method, method));
    }
    if request.version != Some(1) {
        return Err(Refusal::Version.into());
    }
    let headers = Headers(request.headers);
    headers.refuse_body()?;
    headers.check_host()?;
    let (target, query) = parse_target(target)?;
    Ok(Request {
        target,
        query,
        accept: headers.joined("accept")?,
        accept_encoding: headers.joined("accept-encoding")?,
        timeout: headers.timeout(limits)?,
        reply: Reply {
            body: if method == "HEAD" {
                BodyPolicy::Omit
            } else {
                BodyPolicy::Send
            },
            persistence: headers.persistence(),
        },
    })
}

/// Prometheus sends eight.
const MAX_HEADERS: usize = 64;

struct Headers<'a>(&'a [Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    /// Refuses every way to announce a body, so that no request can be smuggled in one.
    fn refuse_body(&self) -> Result<(), Refusal> {
        let lengths: Vec<&[u8]> = self.all("content-length").collect();
        let announced = self.all("transfer-encoding").next().is_some()
            || self.all("expect").next().is_some()
            || !matches!(lengths.as_slice(), [] | [b"0"]);
        if announced {
            Err(Refusal::Body)
        } else {
            Ok(())
        }
    }

    /// Requires exactly one `Host` header that names one host (RFC 9112, section 3.2).
    fn check_host(&self) -> Result<(), Refused> {
        let hosts: Vec<&[u8]> = self.all("host").collect();
        match hosts.as_slice() {
            [host] if host::is_host(host) => Ok(()),
            // Its value is not logged: it may contain a password.
            [_] => Err(Refused::new(
                Refusal::Syntax,
                "the Host header names no host",
            )),
            hosts => Err(Refused::new(
                Refusal::Syntax,
                format_args!("{} Host headers", hosts.len()),
            )),
        }
    }

    /// Joins the values of a header that is forwarded to the service.
    fn joined(&self, name: &str) -> Result<Option<String>, Refused> {
        let unusable = || Refused::new(Refusal::Header, name);
        let mut joined = String::new();
        for value in self.all(name) {
            let value = str::from_utf8(value).map_err(|_| unusable())?;
            if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                return Err(unusable());
            }
            if !joined.is_empty() {
                joined.push_str(", ");
            }
            joined.push_str(value);
        }
        if joined.len() > MAX_FORWARDED_BYTES {
            return Err(unusable());
        }
        Ok(Some(joined).filter(|joined| !joined.is_empty()))
    }

    /// `X-Prometheus-Scrape-Timeout-Seconds`, at most `scrape_timeout_max`.
    fn timeout(&self, limits: &Limits) -> Result<Option<Duration>, Refused> {
        let unusable = || Refused::new(Refusal::Header, TIMEOUT_HEADER);
        let mut values = self.all(TIMEOUT_HEADER);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let seconds = str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<f64>().ok());
        match (seconds, values.next()) {
            (Some(seconds), None) if seconds.is_finite() && seconds > 0.0 => {
                let max = limits.scrape_timeout_max;
                let timeout = Duration::from_secs_f64(seconds.min(max.as_secs_f64()));
                Ok(Some(timeout))
            }
            _ => Err(unusable()),
        }
    }

    fn persistence(&self) -> Persistence {
        let close = self.all("connection").any(|value| {
            value
                .split(|byte| *byte == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
        });
        if close {
            Persistence::Close
        } else {
            Persistence::KeepAlive
        }
    }
}

/// The header in which Prometheus says how long it will wait.
pub(crate) const TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

/// Prometheus's `Accept` has about 350 bytes.
pub(crate) const MAX_FORWARDED_BYTES: usize = 1024;
