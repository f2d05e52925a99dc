//! What a configuration allows, but what will hurt: said at the start, at a reload and by
//! `aegis check`. Decides nothing.

use std::net::IpAddr;

use x509_parser::parse_x509_certificate;

use crate::config::{AdminSocket, Config, Given, Limits, Listen};
use crate::credentials::Credentials;
use crate::identity::{Identity, Name};
use crate::networks::Network;
use crate::policy::{Entry, Policy};
use crate::refusal::Refusal;
use crate::scrape::Upstream;
use crate::service::ServicePattern;

/// One sentence for each thing that will hurt.
pub(crate) fn of(config: &Config, credentials: &Credentials, upstream: &Upstream) -> Vec<String> {
    let mut warnings = config.warnings.clone();
    warnings.extend(credentials.warnings.iter().cloned());
    warnings.extend(unnamed_addresses(&config.listen, credentials));
    warnings.extend(dead_entries(&config.policy, &config.listen, upstream));
    warnings.extend(upstream.warnings());
    warnings.extend(not_for_servers(credentials));
    warnings.extend(config.admin.as_ref().and_then(open_to_all));
    warnings.extend(limits_without_effect(&config.limits));
    warnings.extend(not_scrapable(upstream));
    warnings
}

/// Says if the server's certificate is for other uses: scrapers refuse it.
fn not_for_servers(credentials: &Credentials) -> Option<String> {
    let (_, leaf) = parse_x509_certificate(credentials.chain.first()?).ok()?;
    let uses = leaf.extended_key_usage().ok()??.value;
    (!uses.server_auth && !uses.any).then(|| {
        "the server certificate is not for servers (its extended key usage lacks serverAuth): scrapers will refuse it; issue it anew".to_owned()
    })
}

/// Says if every user of this host may ask on the admin socket.
fn open_to_all(admin: &AdminSocket) -> Option<String> {
    let mode = admin.mode;
    (mode & OTHERS != 0).then(|| {
        format!("admin_socket_mode: {mode:04o} is for every user of this host, who would see every service and could reload; make its last digit 0")
    })
}

/// The permission bits of users who neither own a file nor are in its group.
const OTHERS: u32 = 0o007;

/// Addresses that a scraper could not check the server's certificate by.
fn unnamed_addresses(listen: &[Given<Listen>], credentials: &Credentials) -> Vec<String> {
    let leaf = credentials.chain.first();
    let Some(Ok(identity)) = leaf.map(|leaf| Identity::from_leaf(leaf)) else {
        return Vec::new();
    };
    let names = identity.names();
    // With a DNS name, scrapers are told it by `server_name`.
    if names.iter().any(|name| matches!(name, Name::Dns(_))) {
        return Vec::new();
    }
    let addresses = listen.iter().filter_map(|given| given.value.address());
    let addresses = addresses.map(|address| address.ip().to_canonical());
    addresses
        .filter(|address| !address.is_unspecified())
        .filter(|address| !names.contains(&Name::Ip(*address)))
        .map(|address| {
            format!("the server certificate has neither a DNS name nor {address} among its names: no scraper can check it there")
        })
        .collect()
}

/// Limits that others make vain.
fn limits_without_effect(limits: &Limits) -> Vec<String> {
    let mut warnings = Vec::new();
    let (each, all) = (limits.connections_per_address, limits.connections);
    if each > all {
        warnings.push(format!(
            "limits.connections_per_address: {each} is above connections ({all}), so that one address can take every place; lower it"
        ));
    }
    let (unasked, longest) = (limits.scrape_timeout, limits.scrape_timeout_max);
    if unasked > longest {
        warnings.push(format!(
            "limits.scrape_timeout: {unasked:?} is above scrape_timeout_max ({longest:?}), so that a scraper that names no timeout gets the longest; lower it, or raise scrape_timeout_max"
        ));
    }
    warnings
}

/// What has a service's name in the socket directory and cannot be scraped: no socket, a link, or
/// somebody else's. What is missing is not said: it may come.
fn not_scrapable(upstream: &Upstream) -> Vec<String> {
    let services = upstream.known().into_iter();
    // Those elsewhere are not in the directory, and are not to be remembered as if they were.
    let here = services.filter(|service| upstream.settings(service).socket.is_none());
    let mut warnings: Vec<String> = here
        .filter_map(|service| match upstream.look(&service) {
            Ok(()) | Err(Refusal::Missing | Refusal::UnknownService) => None,
            Err(refusal) => Some((service, refusal)),
        })
        .map(|(service, refusal)| {
            let socket = upstream.socket_of(&service);
            let (stage, reason) = (refusal.stage().name(), refusal.reason());
            format!(
                "{service}: {}, unusable, stage={stage} reason={reason}: {refusal}",
                socket.display()
            )
        })
        .collect();
    let more = warnings.len().saturating_sub(MOST_NAMED);
    warnings.truncate(MOST_NAMED);
    if more > 0 {
        warnings.push(format!(
            "{more} more are unusable in the socket directory; `aegis services` lists them"
        ));
    }
    warnings
}

/// More lines at a start would hide the others.
const MOST_NAMED: usize = 10;

/// Columns of allow entries that nothing can match.
fn dead_entries(policy: &Policy, listen: &[Given<Listen>], upstream: &Upstream) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, entry) in policy.entries().iter().enumerate() {
        let at = &entry.origin;
        if !is_listened_on(entry, listen) {
            warnings.push(format!(
                "{at}: allow[{index}].networks: no address of that family is listened on, so that nobody can come from there"
            ));
        }
        for pattern in &entry.services {
            let ServicePattern::Exact(service) = pattern else {
                continue;
            };
            if !service.is_reserved() && !upstream.knows(service) {
                warnings.push(format!(
                    "{at}: allow[{index}].services: {service} has no socket now"
                ));
            }
        }
    }
    warnings
}

fn is_listened_on(entry: &Entry, listen: &[Given<Listen>]) -> bool {
    entry.networks.iter().any(|network| {
        listen.iter().any(|given| match given.value.address() {
            Some(address) => takes(address.ip(), network),
            // Of what family systemd's socket is, its .socket unit says.
            None => true,
        })
    })
}

fn takes(listened_on: IpAddr, network: &Network) -> bool {
    match listened_on {
        IpAddr::V4(_) => network.is_ipv4(),
        // [::] takes IPv4 as well.
        IpAddr::V6(address) => !network.is_ipv4() || address.is_unspecified(),
    }
}
