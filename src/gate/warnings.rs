//! Warnings about valid but harmful configuration, at the start, at a reload and by `aegis check`.
//! Decides nothing.

mod entries;

use x509_parser::parse_x509_certificate;

use crate::config::{AdminSocket, Config, Limits, Listen, Located};
use crate::policy::identity::{Identity, Name};
use crate::refusal::Refusal;
use crate::services::ServiceRegistry;
use crate::tls::credentials::Credentials;

/// All warnings, one sentence each; those about certificates come first.
pub(crate) fn of(
    config: &Config,
    of_certificates: Vec<String>,
    services: &ServiceRegistry,
) -> Vec<String> {
    let mut warnings = config.warnings.clone();
    warnings.extend(of_certificates);
    warnings.extend(entries::of(&config.policy, &config.listen, services));
    warnings.extend(services.warnings());
    warnings.extend(
        config
            .admin
            .as_ref()
            .and_then(world_accessible_admin_socket),
    );
    warnings.extend(limits_without_effect(&config.limits));
    warnings.extend(unusable_sockets(services));
    warnings
}

/// The warnings about certificates, one sentence each.
pub(crate) fn of_certificates(config: &Config, credentials: &Credentials) -> Vec<String> {
    let mut warnings = credentials.warnings.clone();
    warnings.extend(unverifiable_addresses(&config.listen, credentials));
    warnings.extend(missing_server_auth(credentials));
    warnings
}

/// Warns if the server's certificate lacks serverAuth: scrapers reject it.
fn missing_server_auth(credentials: &Credentials) -> Option<String> {
    let (_, leaf) = parse_x509_certificate(credentials.chain.first()?).ok()?;
    let uses = leaf.extended_key_usage().ok()??.value;
    (!uses.server_auth && !uses.any).then(|| {
        "the server certificate is not for servers (its extended key usages lack serverAuth): scrapers will reject it; issue it again".to_owned()
    })
}

/// Warns if every user of this host may use the admin socket.
fn world_accessible_admin_socket(admin: &AdminSocket) -> Option<String> {
    let mode = admin.mode;
    (mode & OTHERS != 0).then(|| {
        format!("admin_socket_mode: {mode:04o} lets every user of this host see all services and reload; set the last digit to 0")
    })
}

/// The permission bits of users who neither own a file nor are in its group.
const OTHERS: u32 = 0o007;

/// Listen addresses for which scrapers cannot verify the server's certificate.
fn unverifiable_addresses(listen: &[Located<Listen>], credentials: &Credentials) -> Vec<String> {
    let leaf = credentials.chain.first();
    let Some(Ok(identity)) = leaf.map(|leaf| Identity::from_leaf(leaf)) else {
        return Vec::new();
    };
    let names = identity.names();
    // If there is a DNS name, scrapers can set it as `server_name`.
    if names.iter().any(|name| matches!(name, Name::Dns(_))) {
        return Vec::new();
    }
    let addresses = listen.iter().filter_map(|given| given.value.address());
    let addresses = addresses.map(|address| address.ip().to_canonical());
    addresses
        .filter(|address| !address.is_unspecified())
        .filter(|address| !names.contains(&Name::Ip(*address)))
        .map(|address| {
            format!("the server certificate has neither a DNS name nor {address} among its names: no scraper can verify it at that address")
        })
        .collect()
}

/// Limits that have no effect because of others.
fn limits_without_effect(limits: &Limits) -> Vec<String> {
    let mut warnings = Vec::new();
    let (each, all) = (limits.connections_per_address, limits.connections);
    if each > all {
        warnings.push(format!(
            "limits.connections_per_address: {each} exceeds connections ({all}), so that one address can use all connections; lower it"
        ));
    }
    let (default, max) = (limits.scrape_timeout, limits.scrape_timeout_max);
    if default > max {
        warnings.push(format!(
            "limits.scrape_timeout: {default:?} exceeds scrape_timeout_max ({max:?}), so that scrapers without a timeout get scrape_timeout_max; lower it, or raise scrape_timeout_max"
        ));
    }
    warnings
}

/// Files in the socket directory that are named like a service but cannot be scraped: not a socket, a
/// link, of the wrong owner, or not writable. Missing sockets are not reported: they may appear later.
fn unusable_sockets(services: &ServiceRegistry) -> Vec<String> {
    let known = services.known().into_iter();
    // External sockets are not in the directory, and must not be remembered as if they were.
    let here = known.filter(|service| services.settings(service).socket.is_none());
    let mut warnings: Vec<String> = here
        .filter_map(|service| match services.look(&service) {
            Ok(()) => None,
            Err(refused) => Some((service, refused)),
        })
        .filter(|(_, refused)| {
            !matches!(refused.refusal, Refusal::Missing | Refusal::UnknownService)
        })
        .map(|(service, refused)| {
            let socket = services.socket_of(&service);
            let refusal = refused.refusal;
            let (stage, reason) = (refusal.stage().name(), refusal.reason());
            format!(
                "{service}: {}, unusable, stage={stage} reason={reason}: {refused}",
                socket.display()
            )
        })
        .collect();
    let more = warnings.len().saturating_sub(MAX_NAMED);
    warnings.truncate(MAX_NAMED);
    if more > 0 {
        warnings.push(format!(
            "{more} more sockets in the directory are unusable; `aegis services` lists them"
        ));
    }
    warnings
}

/// More lines at the start would hide other warnings.
const MAX_NAMED: usize = 10;
