//! From what was written to what is meant: each key read once, every fault noted.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use hyper::http::uri::Authority;

use super::fault::{Fault, Given};
use super::limits::Limits;
use super::listen::Listen;
use super::section::Section;
use super::{
    AdminSocket, Config, ExpiredCrls, Faulty, Log, LogFormat, LogLevel, Sandbox, Tls, TlsVersion,
    services,
};
use crate::networks::{Network, Networks};
use crate::policy::{Entry, Policy};

/// Reads the whole configuration. What was wrong before this is among the faults.
pub(super) fn config(
    mut written: Section,
    mut warnings: Vec<String>,
    mut faults: Vec<Fault>,
) -> Result<Config, Box<Faulty>> {
    let listen = listen(&mut written, &mut faults);
    let socket_dir = socket_dir(&mut written, &mut faults);
    let admin = admin(&mut written, &mut faults);
    let advertise = advertise(&mut written, &mut faults);
    let sandbox = sandbox(&mut written, &mut warnings, &mut faults);
    let tls = written.table("tls", &mut faults);
    let tls = self::tls(tls, &mut warnings, &mut faults);
    let policy = policy(&mut written, &mut warnings, &mut faults);
    let limits = written.table("limits", &mut faults);
    let limits = Limits::read(limits, &mut faults);
    let services = written.table("services", &mut faults);
    let services = services::read(services, &limits, &mut faults);
    let log = written.table("log", &mut faults);
    let log = self::log(log, &mut faults);
    written.finish(&mut faults);
    match (socket_dir, tls, policy) {
        (Some(socket_dir), Some(tls), Some(policy)) if faults.is_empty() => Ok(Config {
            listen,
            socket_dir,
            admin,
            advertise,
            tls,
            policy,
            services,
            limits,
            sandbox,
            log,
            warnings,
        }),
        (socket_dir, tls, _) => Err(Box::new(Faulty {
            faults,
            socket_dir,
            tls,
            admin,
        })),
    }
}

/// Reads where the sockets are; `None` if that is wrong.
fn socket_dir(written: &mut Section, faults: &mut Vec<Fault>) -> Option<Given<PathBuf>> {
    let before = faults.len();
    let given = path(written, "socket_dir", faults);
    let value = PathBuf::from(DEFAULT_SOCKET_DIR);
    let origin = written.origin().clone();
    given.or_else(|| (faults.len() == before).then_some(Given { value, origin }))
}

/// This host alone, by either family: a host may have no IPv6.
const DEFAULT_LISTEN: [&str; 2] = ["[::1]:31337", "127.0.0.1:31337"];
const DEFAULT_SOCKET_DIR: &str = "/run/aegis/services";

fn listen(written: &mut Section, faults: &mut Vec<Fault>) -> Vec<Given<Listen>> {
    let given = written.texts("listen", faults).unwrap_or_else(|| {
        let origin = written.origin().clone();
        let addresses = DEFAULT_LISTEN.map(|address| Given {
            value: address.to_owned(),
            origin: origin.clone(),
        });
        Given {
            value: addresses.into(),
            origin,
        }
    });
    if given.value.is_empty() {
        let problem = "is empty; name at least one address, such as \"127.0.0.1:31337\"";
        faults.push(Fault::new(&given.origin, "listen", problem));
    }
    let listen = parse_all(given, "listen", |text: &str| text.parse::<Listen>(), faults);
    let mut before = Vec::new();
    for Given { value, origin } in &listen {
        if before.contains(&value) {
            let problem = format!("\"{value}\" is listed twice; take one of them out");
            faults.push(Fault::new(origin, "listen", problem));
        }
        // Of port 0 each has a port of its own.
        let is_one = value.address().is_none_or(|address| address.port() > 0);
        before.extend(is_one.then_some(value));
    }
    listen
}

/// Reads where the operator's socket is, and its mode.
pub(super) fn admin(written: &mut Section, faults: &mut Vec<Fault>) -> Option<AdminSocket> {
    let path = path(written, "admin_socket", faults);
    let mode = written.text("admin_socket_mode", faults);
    let mode = mode.and_then(|given| {
        let mode = u32::from_str_radix(&given.value, 8).ok();
        let mode = mode.filter(|mode| *mode <= 0o777 && given.value.len() >= 3);
        let problem = "is not a file mode; write it as \"0600\", or \"0660\" for a group";
        note_if_none(mode, &given, "admin_socket_mode", problem, faults)
    });
    Some(AdminSocket {
        path: path?,
        mode: mode.unwrap_or(DEFAULT_ADMIN_MODE),
    })
}

/// Whoever else is to ask must be let in by name of a group.
const DEFAULT_ADMIN_MODE: u32 = 0o600;

fn sandbox(written: &mut Section, warnings: &mut Vec<String>, faults: &mut Vec<Fault>) -> Sandbox {
    let sandbox = choice(written, "sandbox", SANDBOXES, faults);
    if !written.flag("unsafe_no_sandbox", faults) {
        return sandbox;
    }
    if sandbox == Sandbox::Required {
        let problem = "contradicts sandbox = \"required\"; take one of them out";
        faults.push(Fault::new(written.origin(), "unsafe_no_sandbox", problem));
    }
    warnings.push(
        "unsafe_no_sandbox: whoever takes aegis over can do whatever its user can".to_owned(),
    );
    Sandbox::UnsafeNone
}

const SANDBOXES: &[(&str, Sandbox)] = &[
    ("best_effort", Sandbox::BestEffort),
    ("required", Sandbox::Required),
];

fn advertise(written: &mut Section, faults: &mut Vec<Fault>) -> Option<String> {
    let given = written.text("advertise", faults)?;
    let authority: Option<Authority> = given.value.parse().ok();
    let authority = authority.filter(|authority| {
        authority.port_u16().is_some_and(|port| port > 0)
            && !authority.host().is_empty()
            && !authority.as_str().contains('@')
    });
    let problem =
        "is not a name or an address with a port; write host.example.org:31337 or [fd00::1]:31337";
    let read = authority.map(|authority| authority.to_string());
    note_if_none(read, &given, "advertise", problem, faults)
}

fn tls(mut section: Section, warnings: &mut Vec<String>, faults: &mut Vec<Fault>) -> Option<Tls> {
    let cert_file = required_path(&mut section, "cert_file", "--tls-cert", faults);
    let key_file = required_path(&mut section, "key_file", "--tls-key", faults);
    let client_ca_file = required_path(&mut section, "client_ca_file", "--client-ca", faults);
    let client_crl_files = section
        .texts("client_crl_files", faults)
        .map(|files| files.value.into_iter().map(resolved).collect())
        .unwrap_or_default();
    let expired_crls = match section.flag("unsafe_accept_expired_crls", faults) {
        true => ExpiredCrls::UnsafeAccept,
        false => ExpiredCrls::Refuse,
    };
    if expired_crls == ExpiredCrls::UnsafeAccept {
        warnings.push(
            "tls.unsafe_accept_expired_crls: whoever was revoked after a CRL ran out is let in"
                .to_owned(),
        );
    }
    let min_version = choice(&mut section, "min_version", TLS_VERSIONS, faults);
    section.finish(faults);
    Some(Tls {
        cert_file: cert_file?,
        key_file: key_file?,
        client_ca_file: client_ca_file?,
        client_crl_files,
        expired_crls,
        min_version,
    })
}

const TLS_VERSIONS: &[(&str, TlsVersion)] = &[("1.3", TlsVersion::V1_3), ("1.2", TlsVersion::V1_2)];

fn policy(
    written: &mut Section,
    warnings: &mut Vec<String>,
    faults: &mut Vec<Fault>,
) -> Option<Policy> {
    let before = faults.len();
    let sections = written.tables("allow", faults);
    // Unless there is something that was noted to be of a wrong kind.
    if sections.is_empty() && faults.len() == before {
        faults.push(Fault::new(
            written.origin(),
            "allow",
            "there is no [[allow]] entry, so that nobody could scrape; write one with networks, identities and services, or give --allow-network and --allow-identity",
        ));
    }
    let entries = sections
        .into_iter()
        .filter_map(|section| entry(section, warnings, faults))
        .collect();
    Policy::new(entries)
}

fn entry(
    mut section: Section,
    warnings: &mut Vec<String>,
    faults: &mut Vec<Fault>,
) -> Option<Entry> {
    let networks: Vec<Network> = column(&mut section, "networks", "--allow-network", faults);
    let identities = column(&mut section, "identities", "--allow-identity", faults);
    let services = column(&mut section, "services", "--allow-network", faults);
    let origin = section.origin().clone();
    for network in networks.iter().filter(|network| network.is_everyone()) {
        warnings.push(format!(
            "{}: {network} admits every address of its family: only the certificate stands between a stranger and the services",
            section.key("networks")
        ));
    }
    section.finish(faults);
    Some(Entry {
        networks: Networks::try_from(networks).ok()?,
        identities,
        services,
        origin,
    })
}

/// Reads one column of an entry. One that is missing, or empty, would match nothing.
fn column<T>(
    section: &mut Section,
    key: &'static str,
    flag: &str,
    faults: &mut Vec<Fault>,
) -> Vec<T>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let name = section.key(key);
    let before = faults.len();
    let Some(given) = section.texts(key, faults) else {
        // Unless it is there, and was noted to be of a wrong kind.
        if faults.len() == before {
            let problem = format!(
                "is not set, so that the entry matches nobody; list at least one under {key}, or give {flag}"
            );
            faults.push(Fault::new(section.origin(), name, problem));
        }
        return Vec::new();
    };
    if given.value.is_empty() {
        let problem = "is empty, so that the entry matches nobody; list at least one";
        faults.push(Fault::new(&given.origin, name.clone(), problem));
    }
    parse_all(given, &name, |text: &str| text.parse::<T>(), faults)
        .into_iter()
        .map(|given| given.value)
        .collect()
}

fn log(mut section: Section, faults: &mut Vec<Fault>) -> Log {
    let log = Log {
        format: choice(&mut section, "format", LOG_FORMATS, faults),
        level: choice(&mut section, "level", LOG_LEVELS, faults),
    };
    section.finish(faults);
    log
}

const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
];

fn choice<T: Copy + Default>(
    section: &mut Section,
    key: &'static str,
    choices: &[(&str, T)],
    faults: &mut Vec<Fault>,
) -> T {
    let Some(given) = section.text(key, faults) else {
        return T::default();
    };
    let chosen = choices.iter().find(|(name, _)| *name == given.value);
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let problem = format!("is not one of {}", names.join(", "));
    let value = chosen.map(|(_, value)| *value);
    note_if_none(value, &given, &section.key(key), &problem, faults).unwrap_or_default()
}

pub(super) fn note_if_none<T>(
    read: Option<T>,
    given: &Given<String>,
    name: &str,
    problem: &str,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    if read.is_none() {
        let problem = format!("{:?} {problem}", given.value);
        faults.push(Fault::new(&given.origin, name, problem));
    }
    read
}

fn parse_all<T, E: std::fmt::Display>(
    given: Given<Vec<Given<String>>>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, E>,
    faults: &mut Vec<Fault>,
) -> Vec<Given<T>> {
    let mut parsed = Vec::new();
    for (index, Given { value, origin }) in given.value.into_iter().enumerate() {
        match parse(&value) {
            Ok(value) => parsed.push(Given { value, origin }),
            Err(error) => faults.push(Fault::new(
                &origin,
                format!("{name}[{index}]"),
                format!("{value:?} {error}"),
            )),
        }
    }
    parsed
}

fn required_path(
    section: &mut Section,
    key: &'static str,
    flag: &str,
    faults: &mut Vec<Fault>,
) -> Option<Given<PathBuf>> {
    let before = faults.len();
    let given = path(section, key, faults);
    if given.is_none() && faults.len() == before {
        let problem =
            format!("is not set and has no default; write {key} under [tls], or give {flag}");
        faults.push(Fault::new(section.origin(), section.key(key), problem));
    }
    given
}

pub(super) fn path(
    section: &mut Section,
    key: &'static str,
    faults: &mut Vec<Fault>,
) -> Option<Given<PathBuf>> {
    let given = section.text(key, faults)?;
    if Path::new(&given.value).as_os_str().is_empty() {
        faults.push(Fault::new(
            &given.origin,
            section.key(key),
            "is empty; write a path",
        ));
        return None;
    }
    Some(resolved(given))
}

fn resolved(given: Given<String>) -> Given<PathBuf> {
    Given {
        value: given.origin.resolve(&given.value),
        origin: given.origin,
    }
}
