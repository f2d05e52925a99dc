//! Stage 3. Parses the raw head of a request into a service name or a view.
//!
//! It decodes nothing: the grammar of names applies to the raw path, and `%` is not part of it.

use std::time::Duration;

use crate::config::{Limits, ServiceSettings};
use crate::http::{self, READ_METHODS, Request, View, loggable};
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};
use crate::text::percent::begins_with_two_digits;

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `/NAME`: a service's metrics, or aegis's own.
    Service(ServiceName),
    /// A page about aegis itself.
    View(View),
}

impl Target {
    /// The service to scrape; `None` for a view.
    pub(super) fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Service(service) => Some(service),
            Self::View(_) => None,
        }
    }
}

/// Parses a complete head.
///
/// # Errors
/// Any refusal of [`crate::refusal::Stage::Route`] except the timeout.
pub(super) fn route(head: &[u8], limits: &Limits) -> Result<Request<Target>, Refused> {
    http::parse(head, limits, |_| READ_METHODS, parse_target)
}

/// Parses a request target in origin form (RFC 9112, section 3.2.1): exactly one segment, or exactly
/// the target of a view.
pub(crate) fn parse_target(raw: &str) -> Result<(Target, Option<String>), Refused> {
    if let Some(view) = View::at(raw) {
        return Ok((Target::View(view), None));
    }
    let refused = || Refused::new(Refusal::Target, loggable(raw));
    // A client never sends a fragment (RFC 9110, section 7.1).
    if raw.contains('#') {
        return Err(refused());
    }
    let (path, query) = match raw.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (raw, None),
    };
    let name = path.strip_prefix('/').ok_or_else(refused)?;
    let service = name.parse().map_err(|_| refused())?;
    if query
        .as_deref()
        .is_some_and(|query| !query.bytes().all(is_query_byte))
    {
        let detail = r#"percent-encode ", <, > and characters beyond ASCII in the query"#;
        return Err(Refused::new(Refusal::Query, detail));
    }
    Ok((Target::Service(service), query))
}

/// Whether a byte may stand in a query.
///
/// RFC 3986 has fewer: it lacks ``[ ] { } | \ ^ ` ``, which browsers and curl send as they are, as in
/// `collect[]=cpu`. The others are refused by one server or another, and encoded by every scraper.
fn is_query_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>')
}

/// The timeout of a scrape.
///
/// It is the scraper's own timeout minus an offset, so that the scraper still receives the reason, but
/// at least half of it. The service's setting is its maximum, and its default.
pub(super) fn scrape_timeout(
    requested: Option<Duration>,
    service: &ServiceSettings,
    limits: &Limits,
) -> Duration {
    let Some(requested) = requested else {
        return service.timeout.unwrap_or(limits.scrape_timeout);
    };
    let usable = requested.saturating_sub(limits.timeout_offset);
    let usable = usable.max(requested / 2);
    service.timeout.map_or(usable, |max| usable.min(max))
}

/// Writes the request target for a service: its configured path, with its fixed query, and the query
/// of the scraper, which may have only the parameters that the service lists.
///
/// # Errors
/// [`Refusal::Query`] for any other parameter, and for a value that is not percent-encoded UTF-8: it
/// would change when it is encoded again.
pub(super) fn service_target(
    service: &ServiceSettings,
    query: Option<&str>,
) -> Result<String, Refused> {
    let Some(query) = query else {
        return Ok(service.path.clone());
    };
    let mut encoded = query.split('%').skip(1);
    if !encoded.all(begins_with_two_digits) {
        return Err(Refused::new(Refusal::Query, "a % without two hex digits"));
    }
    let mut allowed = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !service.params.iter().any(|param| *param == name) {
            return Err(Refusal::Query.into());
        }
        // The replacement character stands for bytes that are not UTF-8. No real value needs it.
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(Refused::new(Refusal::Query, "a value is not UTF-8"));
        }
        allowed.append_pair(&name, &value);
    }
    match allowed.finish().as_str() {
        // A bare `?`, or only `&` after it.
        "" => Err(Refusal::Query.into()),
        allowed => {
            let separator = if service.path.contains('?') { '&' } else { '?' };
            Ok(format!("{}{separator}{allowed}", service.path))
        }
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
