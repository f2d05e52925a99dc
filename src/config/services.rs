//! The `[services.NAME]` tables: what one service does differently.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hyper::http::uri::PathAndQuery;

use super::Service;
use super::fault::Fault;
use super::limits::{self, Limits, NOT_A_DURATION, NOT_A_SIZE, SIZE};
use super::read::{note_if_none, path};
use super::section::Section;
use crate::service::ServiceName;

/// Reads every `[services.NAME]`.
pub(super) fn read(
    mut section: Section,
    limits: &Limits,
    faults: &mut Vec<Fault>,
) -> BTreeMap<ServiceName, Service> {
    let mut services = BTreeMap::new();
    for (key, section) in section.all_tables(faults) {
        let origin = section.origin().clone();
        let name = section.path().to_owned();
        let settings = service(section, limits, faults);
        match key.parse::<ServiceName>() {
            Ok(service) if service.is_reserved() => faults.push(Fault::new(
                &origin,
                name,
                "is the name of aegis's own metrics; give the service another name",
            )),
            Ok(service) => {
                services.insert(service, settings);
            }
            Err(error) => faults.push(Fault::new(&origin, name, format!("{key:?} {error}"))),
        }
    }
    services
}

fn service(mut section: Section, limits: &Limits, faults: &mut Vec<Fault>) -> Service {
    let mut service = Service::unnamed(limits);
    service.socket = socket(&mut section, faults);
    if let Some(path) = section.text("path", faults) {
        match metrics_path(&path.value) {
            true => service.path = path.value,
            false => faults.push(Fault::new(
                &path.origin,
                section.key("path"),
                format!(
                    "{:?} is not a path; write it as /metrics, with no query",
                    path.value
                ),
            )),
        }
    }
    if let Some(params) = section.texts("params", faults) {
        service.params = params.value.into_iter().map(|name| name.value).collect();
    }
    service.owner = owner(&mut section, faults);
    service.labels = labels(section.table("labels", faults), faults);
    let timeout = section.duration("timeout", faults);
    service.timeout = timeout.and_then(|given| {
        let read = limits::duration(&given.value);
        note_if_none(
            read,
            &given,
            &section.key("timeout"),
            NOT_A_DURATION,
            faults,
        )
    });
    if let Some(given) = section.scalar("max_body", SIZE, faults) {
        let read = limits::size(&given.value);
        let read = note_if_none(read, &given, &section.key("max_body"), NOT_A_SIZE, faults);
        service.max_body = read.unwrap_or(service.max_body);
    }
    if let Some(given) = section.scalar("max_concurrent", "a whole number", faults) {
        let read = given.value.parse().ok().filter(|count| *count > 0);
        let problem = "is not a whole number above 0";
        let read = note_if_none(
            read,
            &given,
            &section.key("max_concurrent"),
            problem,
            faults,
        );
        service.max_concurrent = read.unwrap_or(service.max_concurrent);
    }
    section.finish(faults);
    service
}

fn socket(section: &mut Section, faults: &mut Vec<Fault>) -> Option<PathBuf> {
    let socket = path(section, "socket", faults)?;
    if socket.value.file_name().is_none() {
        faults.push(Fault::new(
            &socket.origin,
            section.key("socket"),
            format!("{:?} does not name a socket", socket.value),
        ));
    }
    Some(socket.value)
}

/// Reads labels by the grammar of Prometheus; those that begin with `__` are its own.
fn labels(mut section: Section, faults: &mut Vec<Fault>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, given) in section.all_texts(faults) {
        let mut bytes = name.bytes();
        let starts_well = bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
        let is_name = starts_well && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_name && !name.starts_with("__") {
            labels.insert(name, given.value);
        } else {
            faults.push(Fault::new(
                &given.origin,
                section.key(&name),
                "is not a label name; it has letters, digits and _, does not start with a digit nor with __",
            ));
        }
    }
    labels
}

/// Whether a text can stand in a request line as a path alone.
fn metrics_path(text: &str) -> bool {
    text.starts_with('/')
        && text.bytes().all(|byte| {
            byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'"' | b'<' | b'>')
        })
        && text.parse::<PathAndQuery>().is_ok()
}

/// Reads a uid or a user's name.
fn owner(section: &mut Section, faults: &mut Vec<Fault>) -> Option<u32> {
    let given = section.scalar("owner", "a uid or the name of a user", faults)?;
    let looked_up = match given.value.parse::<u32>() {
        Ok(uid) => Ok(Some(uid)),
        Err(_) => nix::unistd::User::from_name(&given.value)
            .map(|user| user.map(|user| user.uid.as_raw())),
    };
    let problem = match looked_up {
        // In a user namespace every unmapped uid reads so: it would stand for anybody.
        Ok(Some(OVERFLOW_UID)) => {
            format!(
                "{:?} is uid {OVERFLOW_UID}, which stands for every user that is not mapped; give the service a user of its own",
                given.value
            )
        }
        Ok(Some(uid)) => return Some(uid),
        Ok(None) => format!(
            "there is no user {:?} here; create it, or write a uid",
            given.value
        ),
        Err(error) => format!("user {:?} cannot be looked up: {error}", given.value),
    };
    faults.push(Fault::new(&given.origin, section.key("owner"), problem));
    None
}

/// See `/proc/sys/kernel/overflowuid` in proc(5).
const OVERFLOW_UID: u32 = 65534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_that_a_request_can_have() {
        for path in ["/", "/metrics", "/a/b;c=d%20", "/~x!$&'()*+,"] {
            assert!(metrics_path(path), "{path}");
        }
        for path in [
            "", "metrics", "/a?b", "/a#b", "/a b", "/a`b", "/a<b", "/\u{e9}",
        ] {
            assert!(!metrics_path(path), "{path}");
        }
    }
}
