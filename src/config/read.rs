//! From what is written to what is meant: reads each key once, and notes every error.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hyper::http::uri::Authority;

use super::error::{Located, bounded};
use super::limits::Limits;
use super::listen::Listen;
use super::overrides::Overrides;
use super::reader::{Noted, Reader, resolved};
use super::section::Section;
use super::{
    AdminSocket, Config, ExpiredCrls, InvalidConfig, Log, LogFormat, LogLevel, LoggedScrapes,
    Sandbox, Tls, TlsVersion, services,
};
use crate::policy::networks::{Network, Networks};
use crate::policy::{Entry, Policy};
use crate::text::origin::Origin;

/// Reads the whole configuration: the overrides over the file.
pub(super) fn config(
    section: Section,
    overrides: &Overrides,
    mut warnings: Vec<String>,
) -> Result<Config, Box<InvalidConfig>> {
    let mut faults = Vec::new();
    let mut root = Reader::new(section, &mut faults, &mut warnings);
    let notes = overrides.apply(&mut root);
    let listen = listen(&mut root);
    let socket_dir = socket_dir(&mut root).ok();
    let admin = admin(&mut root);
    if let (Some(admin), Some(socket_dir)) = (&admin, &socket_dir) {
        refuse_admin_socket_among_services(&mut root, admin, socket_dir);
    }
    let advertise = advertise(&mut root);
    let sandbox = sandbox(&mut root);
    let forget_after = forget_after(&mut root);
    let tls = tls(root.table("tls"));
    let policy = policy(&mut root).ok();
    let limits = Limits::read(root.table("limits"));
    let services = services::read(root.table("services"), &limits, &overrides.users);
    let log = log(root.table("log"));
    // `[[alow]]` was meant to be a part of the policy.
    let policy = policy.filter(|_| !root.section.has_tables_left());
    root.finish();
    match (socket_dir, tls, policy) {
        (Some(socket_dir), Some(tls), Some(policy)) if faults.is_empty() => Ok(Config {
            listen,
            socket_dir,
            admin,
            advertise,
            tls,
            policy,
            services,
            forget_after,
            limits,
            sandbox,
            log,
            warnings,
            notes,
        }),
        (socket_dir, tls, policy) => Err(Box::new(InvalidConfig {
            faults: bounded(faults),
            socket_dir,
            tls,
            policy,
            admin,
        })),
    }
}

/// Reads where the sockets are.
fn socket_dir(root: &mut Reader<'_>) -> Result<Located<PathBuf>, Noted> {
    let given = root.path("socket_dir")?;
    Ok(given.unwrap_or_else(|| Located {
        value: PathBuf::from(DEFAULT_SOCKET_DIR),
        origin: root.section.origin().clone(),
    }))
}

/// This host alone, by either family: a host may have no IPv6.
const DEFAULT_LISTEN: [&str; 2] = ["[::1]:31337", "127.0.0.1:31337"];
const DEFAULT_SOCKET_DIR: &str = "/run/aegis/services";

fn listen(root: &mut Reader<'_>) -> Vec<Located<Listen>> {
    let Ok(given) = root.texts("listen") else {
        return Vec::new();
    };
    let given = given.unwrap_or_else(|| {
        let origin = root.section.origin().clone();
        let addresses = DEFAULT_LISTEN.map(|address| {
            let (value, origin) = (address.to_owned(), origin.clone());
            Ok(Located { value, origin })
        });
        Located {
            value: addresses.into(),
            origin,
        }
    });
    if given.value.is_empty() {
        let problem = "is empty; name at least one address, such as \"127.0.0.1:31337\"";
        root.error(&given.origin, "listen", problem);
    }
    let parsed = root.parse_all("listen", given, |text: &str| text.parse::<Listen>());
    let listen: Vec<Located<Listen>> = parsed.into_iter().flatten().collect();
    let mut before = Vec::new();
    for Located { value, origin } in &listen {
        if before.contains(&value) {
            let problem = format!("\"{value}\" is listed twice; remove one");
            root.error(origin, "listen", problem);
        }
        // With port 0, each gets a port of its own.
        let is_one = value.address().is_none_or(|address| address.port() > 0);
        before.extend(is_one.then_some(value));
    }
    listen
}

/// Reads where the admin socket is, and its mode.
pub(super) fn admin(root: &mut Reader<'_>) -> Option<AdminSocket> {
    let path = root.path("admin_socket").ok().flatten();
    let mode = root.text("admin_socket_mode");
    let octal = |text: &str| {
        let mode = u32::from_str_radix(text, 8).ok();
        mode.filter(|mode| *mode <= 0o777 && text.len() >= 3)
    };
    let problem = "is not a file mode; write it as \"0600\", or \"0660\" for a group";
    let mode = root.parse("admin_socket_mode", mode, octal, problem);
    Some(AdminSocket {
        path: path?,
        mode: mode.unwrap_or(DEFAULT_ADMIN_MODE),
    })
}

/// The admin socket has no policy, and must not be scraped as a service.
fn refuse_admin_socket_among_services(
    root: &mut Reader<'_>,
    admin: &AdminSocket,
    socket_dir: &Located<PathBuf>,
) {
    let Located { value, origin } = &admin.path;
    if value.parent() == Some(socket_dir.value.as_path()) {
        let problem = format!(
            "{} is in socket_dir, where scrapers reach sockets as services; put it into another directory",
            value.display()
        );
        root.error(origin, "admin_socket", problem);
    }
}

/// Access for a group must be configured.
const DEFAULT_ADMIN_MODE: u32 = 0o600;

fn sandbox(root: &mut Reader<'_>) -> Sandbox {
    let sandbox = choice(root, "sandbox", SANDBOXES);
    if !root.flag("unsafe_no_sandbox", false) {
        return sandbox;
    }
    if sandbox == Sandbox::Required {
        let problem = "contradicts sandbox = \"required\"; remove one of them";
        root.error_here("unsafe_no_sandbox", problem);
    }
    root.warnings
        .push("unsafe_no_sandbox: a compromised aegis would run unconfined as its user".to_owned());
    Sandbox::UnsafeNone
}

const SANDBOXES: &[(&str, Sandbox)] = &[
    ("best_effort", Sandbox::BestEffort),
    ("required", Sandbox::Required),
];

/// Reads how long services that are gone stay known.
fn forget_after(root: &mut Reader<'_>) -> Option<Duration> {
    let given = root.duration("forget_after");
    let parse = |text: &str| match text {
        "never" => Some(None),
        text => {
            let duration = humantime::parse_duration(text).ok()?;
            let is_usable = !duration.is_zero() && duration <= MAX_FORGET_AFTER;
            is_usable.then_some(Some(duration))
        }
    };
    let problem =
        "is not a duration above 0 and up to 365d; write it as 30m, 24h or 7d, or \"never\"";
    root.parse("forget_after", given, parse, problem)
        .unwrap_or(Some(DEFAULT_FORGET_AFTER))
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Long enough for every alert on a service that is gone.
const DEFAULT_FORGET_AFTER: Duration = DAY;
const MAX_FORGET_AFTER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn advertise(root: &mut Reader<'_>) -> Option<String> {
    let given = root.text("advertise");
    let authority = |text: &str| {
        let authority: Authority = text.parse().ok()?;
        let is_whole = authority.port_u16().is_some_and(|port| port > 0)
            && !authority.host().is_empty()
            && !authority.as_str().contains('@');
        is_whole.then(|| authority.to_string())
    };
    let problem =
        "is not a name or an address with a port; write host.example.org:31337 or [fd00::1]:31337";
    root.parse("advertise", given, authority, problem)
}

fn tls(mut table: Reader<'_>) -> Option<Tls> {
    let cert_file = required_path(&mut table, "cert_file", "--tls-cert");
    let key_file = required_path(&mut table, "key_file", "--tls-key");
    let client_ca_file = required_path(&mut table, "client_ca_file", "--client-ca");
    let crl_files = table.texts("client_crl_files").ok().flatten();
    let crl_files = crl_files.into_iter().flat_map(|files| files.value);
    let client_crl_files = crl_files.flatten().map(resolved).collect();
    let expired_crls = if table.flag("unsafe_accept_expired_crls", false) {
        table.warnings.push(
            "tls.unsafe_accept_expired_crls: certificates revoked after a CRL expired are accepted"
                .to_owned(),
        );
        ExpiredCrls::UnsafeAccept
    } else {
        ExpiredCrls::Refuse
    };
    let min_version = choice(&mut table, "min_version", TLS_VERSIONS);
    table.finish();
    Some(Tls {
        cert_file: cert_file.ok()?,
        key_file: key_file.ok()?,
        client_ca_file: client_ca_file.ok()?,
        client_crl_files,
        expired_crls,
        min_version,
    })
}

const TLS_VERSIONS: &[(&str, TlsVersion)] = &[("1.3", TlsVersion::V1_3), ("1.2", TlsVersion::V1_2)];

/// Reads the allow entries. An empty column makes the configuration invalid, but not the policy:
/// the entry grants nothing, and that is what was written.
fn policy(root: &mut Reader<'_>) -> Result<Policy, Noted> {
    let sections = root.tables("allow");
    if sections.is_empty() {
        return Err(root.error_here(
            "allow",
            "there is no [[allow]] entry, so no client could scrape; write one with networks, identities and services, or give --allow-network and --allow-identity",
        ));
    }
    let sections = sections.into_iter();
    // Every entry is read before the first error ends it.
    let entries: Vec<_> = sections.map(|section| entry(root.of(section?))).collect();
    let entries: Vec<Option<Entry>> = entries.into_iter().collect::<Result<_, _>>()?;
    let entries = entries.into_iter().flatten().collect();
    Ok(Policy::new(entries).unwrap_or_else(Policy::nothing))
}

/// Reads an entry; `None` if it has an empty list of networks.
fn entry(mut table: Reader<'_>) -> Result<Option<Entry>, Noted> {
    let networks = column::<Network>(&mut table, "networks", "--allow-network");
    let identities = column(&mut table, "identities", "--allow-identity");
    let services = column(&mut table, "services", "--allow-network");
    let origin = table.section.origin().clone();
    let key = table.section.key("networks");
    for network in networks
        .iter()
        .flatten()
        .filter(|network| network.is_any_address())
    {
        table.warnings.push(format!(
            "{key}: {network} admits every address of its family: only the client certificate protects the services",
        ));
    }
    if let Some(noted) = table.finish() {
        return Err(noted);
    }
    let (identities, services) = (identities?, services?);
    let networks = Networks::try_from(networks?).ok();
    Ok(networks.map(|networks| Entry {
        networks,
        identities,
        services,
        origin,
    }))
}

/// Reads one column of an entry. One that is not set, or is empty, would match nothing.
fn column<T>(table: &mut Reader<'_>, key: &'static str, flag: &str) -> Result<Vec<T>, Noted>
where
    T: FromStr<Err: Display>,
{
    let Some(given) = table.texts(key)? else {
        let mut problem =
            format!("is not set, so the entry matches no client; list at least one under {key}");
        // A flag adds nothing to an entry of the file.
        if matches!(table.section.origin(), Origin::Flag(_)) {
            problem = format!("is not set, so the entry matches no client; give {flag}");
        }
        return Err(table.error_here(key, problem));
    };
    if given.value.is_empty() {
        let problem = "is empty, so the entry matches no client; list at least one";
        table.error(&given.origin, key, problem);
    }
    let parsed = table.parse_all(key, given, |text: &str| text.parse::<T>());
    let parsed = parsed.into_iter();
    parsed.map(|given| Ok(given?.value)).collect()
}

fn log(mut table: Reader<'_>) -> Log {
    let log = Log {
        format: choice(&mut table, "format", LOG_FORMATS),
        level: choice(&mut table, "level", LOG_LEVELS),
        scrapes: choice(&mut table, "scrapes", LOGGED_SCRAPES),
    };
    table.finish();
    log
}

const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

const LOGGED_SCRAPES: &[(&str, LoggedScrapes)] = &[
    ("all", LoggedScrapes::All),
    ("failed", LoggedScrapes::Failed),
    ("none", LoggedScrapes::None),
];

const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
];

fn choice<T: Copy + Default>(
    table: &mut Reader<'_>,
    key: &'static str,
    choices: &[(&str, T)],
) -> T {
    let given = table.text(key);
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let problem = format!("is not one of {}", names.join(", "));
    let chosen = |text: &str| choices.iter().find(|(name, _)| *name == text);
    let chosen = table.parse(key, given, chosen, &problem);
    chosen.map(|(_, value)| *value).unwrap_or_default()
}

fn required_path(
    table: &mut Reader<'_>,
    key: &'static str,
    flag: &str,
) -> Result<Located<PathBuf>, Noted> {
    if let Some(given) = table.path(key)? {
        return Ok(given);
    }
    let problem = format!("is not set and has no default; write {key} under [tls], or give {flag}");
    Err(table.error_here(key, problem))
}
