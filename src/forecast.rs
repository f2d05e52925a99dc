//! What a configuration allows, but what will hurt: said at the start, at a reload and by
//! `aegis check`. Decides nothing.

use std::net::IpAddr;

use crate::config::{Config, Given, Listen};
use crate::credentials::Credentials;
use crate::identity::{Identity, Name};
use crate::networks::Network;
use crate::policy::{Entry, Policy};
use crate::scrape::Upstream;
use crate::service::ServicePattern;

/// One sentence for each thing that will hurt.
pub(crate) fn of(config: &Config, credentials: &Credentials, upstream: &Upstream) -> Vec<String> {
    let mut warnings = config.warnings.clone();
    warnings.extend(credentials.warnings.iter().cloned());
    warnings.extend(unnamed_addresses(&config.listen, credentials));
    warnings.extend(dead_entries(&config.policy, &config.listen, upstream));
    warnings.extend(upstream.warnings());
    warnings
}

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
