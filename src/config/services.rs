//! The `[services.NAME]` tables: the settings of one service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hyper::http::uri::PathAndQuery;

use super::ServiceSettings;
use super::limits::{self, Limits, NOT_A_DURATION, NOT_A_SIZE, SIZE};
use super::owner::{Lookup, Owner, Users};
use super::reader::Reader;
use crate::policy::service_name::ServiceName;
use crate::text::host::is_host;
use crate::text::media_type::MetricsFormat;

/// Reads every `[services.NAME]`.
pub(super) fn read(
    mut services: Reader<'_>,
    limits: &Limits,
    users: &Users,
) -> BTreeMap<ServiceName, ServiceSettings> {
    let mut named = BTreeMap::new();
    for (key, section) in services.all_tables() {
        let origin = section.origin().clone();
        let name = section.path().to_owned();
        let settings = service(services.of(section), limits, users);
        let problem = match key.parse::<ServiceName>() {
            Ok(service) if service.is_reserved() => {
                "is the name of aegis's own metrics; give the service another name".to_owned()
            }
            Ok(service) => {
                named.insert(service, settings);
                continue;
            }
            Err(error) => format!("{key:?} {error}"),
        };
        services.error_of(&origin, name, problem);
    }
    named
}

fn service(mut table: Reader<'_>, limits: &Limits, users: &Users) -> ServiceSettings {
    let mut service = ServiceSettings::defaults(limits);
    service.socket = socket(&mut table);
    if let Some(host) = table.text("host") {
        // An empty one is valid (RFC 9112, section 3.2), and Caddy 2.6 wants it for its admin endpoint.
        if host.value.is_empty() || is_host(host.value.as_bytes()) {
            service.host = host.value;
        } else {
            let problem = "is not a host; write a name or an address, with :PORT if it needs one";
            table.invalid("host", &host, problem);
        }
    }
    if let Some(path) = table.text("path") {
        if is_metrics_path(&path.value) {
            service.path = path.value;
        } else {
            let problem = "is not a path; write it as /metrics or /status?format=prometheus";
            table.invalid("path", &path, problem);
        }
    }
    service.params = params(&mut table, &service.path);
    service.content_type = content_type(&mut table);
    service.close_delimited = table.flag("close_delimited", true);
    service.owner = owner(&mut table, users);
    service.labels = labels(table.table("labels"));
    let timeout = table.duration("timeout");
    service.timeout = table.parse("timeout", timeout, limits::duration, NOT_A_DURATION);
    let max_body = table.scalar("max_body", SIZE);
    if let Some(bytes) = table.parse("max_body", max_body, limits::size, NOT_A_SIZE) {
        service.max_body = bytes;
    }
    let max_concurrent = table.scalar("max_concurrent", "a whole number");
    let count = |text: &str| text.parse().ok().filter(|count| *count > 0);
    let problem = "is not a whole number above 0";
    if let Some(count) = table.parse("max_concurrent", max_concurrent, count, problem) {
        service.max_concurrent = count;
    }
    table.finish();
    service
}

/// Reads the parameters that a scraper may send. The fixed ones of the path are not among them.
fn params(table: &mut Reader<'_>, path: &str) -> Vec<String> {
    let Ok(Some(listed)) = table.texts("params") else {
        return Vec::new();
    };
    let (_, fixed) = path.split_once('?').unwrap_or_default();
    let is_fixed = |name: &str| {
        let mut fixed = form_urlencoded::parse(fixed.as_bytes());
        fixed.any(|(fixed, _)| fixed == name)
    };
    let mut params = Vec::new();
    for name in listed.value.into_iter().flatten() {
        if is_fixed(&name.value) {
            let problem = "is already in the query of path; remove it from path or from params";
            table.invalid("params", &name, problem);
        } else {
            params.push(name.value);
        }
    }
    params
}

/// Reads the media type that replaces the service's own. A browser must not run what it names.
fn content_type(table: &mut Reader<'_>) -> Option<String> {
    let given = table.text("content_type")?;
    if MetricsFormat::of(&given.value).is_some() {
        return Some(given.value);
    }
    let problem = "is not a media type of metrics; write \"text/plain; version=0.0.4\", or a type of OpenMetrics or protobuf";
    table.invalid("content_type", &given, problem);
    None
}

fn socket(table: &mut Reader<'_>) -> Option<PathBuf> {
    let socket = table.path("socket").ok().flatten()?;
    if socket.value.file_name().is_none() {
        let problem = format!("{:?} does not name a socket", socket.value);
        table.error(&socket.origin, "socket", problem);
    }
    Some(socket.value)
}

/// Reads labels by the grammar of Prometheus, which reserves those that begin with `__`.
fn labels(mut table: Reader<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, given) in table.all_texts() {
        let mut bytes = name.bytes();
        let starts_well = bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
        let is_name = starts_well && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_name && !name.starts_with("__") {
            labels.insert(name, given.value);
        } else {
            table.error(
                &given.origin,
                &name,
                "is not a label name; it has letters, digits and _, does not start with a digit nor with __",
            );
        }
    }
    labels
}

/// Whether a text can stand in a request line: a path, and a query that is not empty.
fn is_metrics_path(text: &str) -> bool {
    let (_, query) = text.split_once('?').unwrap_or((text, "x"));
    text.starts_with('/')
        && !query.is_empty()
        && !query.contains('?')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>'))
        && text.parse::<PathAndQuery>().is_ok()
}

/// Reads a uid or a user's name.
fn owner(table: &mut Reader<'_>, users: &Users) -> Option<Owner> {
    let given = table.scalar("owner", "a uid or the name of a user")?;
    let name = &given.value;
    let looked_up = match name.parse::<u32>() {
        Ok(uid) => Ok(Lookup::Found(uid)),
        Err(_) => users.find(name),
    };
    let problem = match looked_up {
        // In a user namespace every unmapped uid has this value: any user would match.
        Ok(Lookup::Found(OVERFLOW_UID)) => {
            format!(
                "{name:?} is uid {OVERFLOW_UID}, which stands for every unmapped user; run the service as a user of its own"
            )
        }
        Ok(Lookup::Found(uid)) => return Some(Owner::User(uid)),
        // No error: it must not block a new certificate or a revocation in the same reload.
        Ok(Lookup::Closed) => {
            let key = table.section.key("owner");
            table.warnings.push(format!(
                "{}: {key}: user {name:?} was not configured when aegis started, and the sandbox allows no user lookup; scrapes of this service fail until you restart aegis or write the uid",
                given.origin
            ));
            return Some(Owner::NotKnownSinceStart);
        }
        Ok(Lookup::Absent) => format!("user {name:?} does not exist; create it, or write a uid"),
        Err(error) => format!(
            "user {name:?} cannot be looked up: {}; write a uid, or check the passwd line of /etc/nsswitch.conf",
            error.desc()
        ),
    };
    table.error(&given.origin, "owner", problem);
    None
}

/// See `/proc/sys/kernel/overflowuid` in proc(5).
const OVERFLOW_UID: u32 = 65534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_path_accepts_only_request_paths() {
        for path in [
            "/",
            "/metrics",
            "/a/b;c=d%20",
            "/~x!$&'()*+,",
            "/status?openmetrics",
            "/api/v1/allmetrics?format=prometheus&help=yes",
        ] {
            assert!(is_metrics_path(path), "{path}");
        }
        for path in [
            "", "metrics", "?a", "/a?", "/a?b?c", "/a?b#c", "/a#b", "/a b", "/a`b", "/a<b",
            "/\u{e9}",
        ] {
            assert!(!is_metrics_path(path), "{path}");
        }
    }
}
