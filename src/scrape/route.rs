//! Stage 3. From the raw head of a request to a service's name, or to what aegis says of itself.
//!
//! Decodes nothing: the name grammar is applied to the path as it came, and `%` is not in it.
//! A request never has a body, so that there is no second reading of where it ends.

mod head;
mod host;

use std::time::Duration;

use httparse::{EMPTY_HEADER, Header, Status};

use crate::config::{Limits, Service};
use crate::refusal::{Refusal, Refused};
use crate::service::ServiceName;
use crate::view::View;

pub(super) use head::{Heads, NextHead};

/// What a request asks for, and the little of it that a service will hear.
#[derive(Debug)]
pub(super) struct Asked<W = Wanted> {
    pub(super) wanted: W,
    pub(super) query: Option<String>,
    pub(super) answer: AnswerWith,
    pub(super) accept: Option<String>,
    pub(super) accept_encoding: Option<String>,
    /// The scraper's own timeout, if it names one.
    pub(super) timeout: Option<Duration>,
    pub(super) afterwards: Afterwards,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `/NAME`: what a service says, or aegis's own metrics.
    Service(ServiceName),
    /// What aegis says of itself.
    View(View),
}

impl Wanted {
    /// The service that is to be scraped.
    pub(super) fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Service(service) => Some(service),
            Self::View(_) => None,
        }
    }
}

/// What a request on the admin socket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WantedByOperator {
    /// What a scraper may ask for too.
    Seen(Wanted),
    /// `POST /-/reload`
    Reload,
    /// `POST /-/forget/NAME`, of a service that vanished.
    Forget(ServiceName),
}

/// How much of the answer the scraper wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerWith {
    /// `GET`
    Body,
    /// `HEAD`
    HeadAlone,
}

impl AnswerWith {
    /// What to answer a head with that cannot be read otherwise.
    pub(super) fn to_unread(head: &[u8]) -> Self {
        // An empty line before a request is passed over (RFC 9112, section 2.2).
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        match head.starts_with(b"HEAD ") {
            true => Self::HeadAlone,
            false => Self::Body,
        }
    }
}

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    KeepAlive,
    Close,
}

/// Reads a whole head.
///
/// # Errors
/// Any refusal of [`crate::refusal::Stage::Route`] but the timeout.
pub(super) fn route(head: &[u8], limits: &Limits) -> Result<Asked, Refused> {
    read(head, limits, &["GET", "HEAD"], |_, target| wanted(target))
}

/// Reads a whole head of the admin socket.
///
/// # Errors
/// As [`route`].
pub(super) fn route_for_operator(
    head: &[u8],
    limits: &Limits,
) -> Result<Asked<WantedByOperator>, Refused> {
    let wanted_by_operator = |method: &str, target: &str| match method {
        "POST" => Ok((deed(target)?, None)),
        _ => wanted(target).map(|(wanted, query)| (WantedByOperator::Seen(wanted), query)),
    };
    read(head, limits, &["GET", "HEAD", "POST"], wanted_by_operator)
}

fn read<W>(
    head: &[u8],
    limits: &Limits,
    methods: &[&str],
    wanted: impl FnOnce(&str, &str) -> Result<(W, Option<String>), Refused>,
) -> Result<Asked<W>, Refused> {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Ok(Status::Complete(_) | Status::Partial) => return Err(Refusal::Syntax.into()),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused::new(Refusal::Header, "too many headers"));
        }
        // A byte that no target can have, such as NUL, in a line that names a method we know.
        Err(httparse::Error::Token) if head.starts_with(b"GET ") || head.starts_with(b"HEAD ") => {
            return Err(Refusal::Target.into());
        }
        Err(error) => return Err(Refused::new(Refusal::Syntax, error)),
    }
    let method = request.method.unwrap_or_default();
    if !methods.contains(&method) {
        return Err(Refused::new(Refusal::Method, method));
    }
    if request.version != Some(1) {
        return Err(Refused::new(Refusal::Syntax, "not HTTP/1.1"));
    }
    let headers = Headers(request.headers);
    headers.refuse_a_body()?;
    headers.refuse_an_unclear_host()?;
    let (wanted, query) = wanted(method, request.path.unwrap_or_default())?;
    Ok(Asked {
        wanted,
        query,
        answer: match method {
            "HEAD" => AnswerWith::HeadAlone,
            _ => AnswerWith::Body,
        },
        accept: headers.joined("accept")?,
        accept_encoding: headers.joined("accept-encoding")?,
        timeout: headers.timeout(limits)?,
        afterwards: headers.afterwards(),
    })
}

/// Prometheus sends eight.
const MOST_HEADERS: usize = 64;

/// Splits a request target in origin form (RFC 9112, section 3.2.1): exactly one segment, or the
/// whole path of a view.
fn wanted(raw: &str) -> Result<(Wanted, Option<String>), Refused> {
    if let Some(view) = View::at(raw) {
        return Ok((Wanted::View(view), None));
    }
    let refused = || Refused::new(Refusal::Target, loggable(raw));
    // A fragment is for the scraper alone (RFC 9110, section 7.1).
    if raw.contains('#') {
        return Err(refused());
    }
    let (path, query) = match raw.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (raw, None),
    };
    let name = path.strip_prefix('/').ok_or_else(refused)?;
    let service = name.parse().map_err(|_| refused())?;
    Ok((Wanted::Service(service), query))
}

fn deed(raw: &str) -> Result<WantedByOperator, Refused> {
    if raw == "/-/reload" {
        return Ok(WantedByOperator::Reload);
    }
    let Some(service) = raw.strip_prefix("/-/forget/") else {
        return Err(Refused::new(Refusal::Method, loggable(raw)));
    };
    let service = service.parse();
    let service = service.map_err(|_| Refused::new(Refusal::Target, loggable(raw)))?;
    Ok(WantedByOperator::Forget(service))
}

/// A refused target without what may be secret: a query, or the password of a whole URL.
fn loggable(raw: &str) -> String {
    let path = raw.split_inclusive(['?', '#']).next().unwrap_or_default();
    match raw.starts_with('/') {
        true if path == raw => raw.to_owned(),
        true => format!("{path}..."),
        false => "it does not begin with /".to_owned(),
    }
}

/// How long a scrape may take.
///
/// The scraper's own timeout less an offset, so that it still hears the reason; for very short
/// ones half of it. The service's setting bounds it, and stands in for it.
pub(super) fn time_for(asked: Option<Duration>, service: &Service, limits: &Limits) -> Duration {
    let Some(asked) = asked else {
        return service.timeout.unwrap_or(limits.scrape_timeout);
    };
    let usable = asked.saturating_sub(limits.timeout_offset).max(asked / 2);
    service
        .timeout
        .map_or(usable, |longest| usable.min(longest))
}

/// Writes the target that is asked of a service: its path, and a query of only the parameters
/// that it lists.
///
/// # Errors
/// [`Refusal::Query`] for any other, and for what is not percent-encoded UTF-8: it would be another
/// value on its way.
pub(super) fn target_for(service: &Service, query: Option<&str>) -> Result<String, Refused> {
    let Some(query) = query else {
        return Ok(service.path.clone());
    };
    let mut encoded = query.split('%').skip(1);
    if !encoded.all(begins_with_two_digits) {
        return Err(Refused::new(Refusal::Query, "a % without two digits"));
    }
    let mut allowed = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !service.params.iter().any(|param| *param == name) {
            return Err(Refusal::Query.into());
        }
        // What stands for bytes that are not UTF-8; as itself it is of no use to anybody.
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(Refused::new(Refusal::Query, "a value is not UTF-8"));
        }
        allowed.append_pair(&name, &value);
    }
    match allowed.finish().as_str() {
        // A bare `?`, or one with nothing but `&` after it.
        "" => Err(Refusal::Query.into()),
        allowed => Ok(format!("{}?{allowed}", service.path)),
    }
}

/// As what follows each `%` must (RFC 3986, section 2.1).
fn begins_with_two_digits(text: &str) -> bool {
    let digits = text.as_bytes().first_chunk::<2>();
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

struct Headers<'a>(&'a [Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    /// Any way to announce a body is refused, so that requests cannot be smuggled in one.
    fn refuse_a_body(&self) -> Result<(), Refusal> {
        let lengths: Vec<&[u8]> = self.all("content-length").collect();
        let announced = self.all("transfer-encoding").next().is_some()
            || self.all("expect").next().is_some()
            || !matches!(lengths.as_slice(), [] | [b"0"]);
        match announced {
            true => Err(Refusal::Body),
            false => Ok(()),
        }
    }

    /// RFC 9112, section 3.2: exactly one, of one host.
    fn refuse_an_unclear_host(&self) -> Result<(), Refused> {
        let hosts: Vec<&[u8]> = self.all("host").collect();
        match hosts.as_slice() {
            [host] if host::is_host(host) => Ok(()),
            // What it says instead is not for the log: it may have a password.
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

    /// The values of a header that goes on to the service, as one.
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
        if joined.len() > LONGEST_FORWARDED {
            return Err(unusable());
        }
        Ok(Some(joined).filter(|joined| !joined.is_empty()))
    }

    /// `X-Prometheus-Scrape-Timeout-Seconds`, clamped.
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
                let longest = limits.scrape_timeout_max;
                let asked = Duration::from_secs_f64(seconds.min(longest.as_secs_f64()));
                Ok(Some(asked))
            }
            _ => Err(unusable()),
        }
    }

    fn afterwards(&self) -> Afterwards {
        let close = self.all("connection").any(|value| {
            value
                .split(|byte| *byte == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
        });
        match close {
            true => Afterwards::Close,
            false => Afterwards::KeepAlive,
        }
    }
}

/// The header in which Prometheus says how long it will wait.
pub(super) const TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

/// Prometheus's `Accept` has about 350 bytes.
const LONGEST_FORWARDED: usize = 1024;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
