//! Warnings about allow entries: columns that nothing can match, entries that allow too much, and
//! entries without effect.

use std::net::IpAddr;

use crate::config::{Listen, Located};
use crate::policy::identity::IdentityPattern;
use crate::policy::networks::Network;
use crate::policy::service_name::ServicePattern;
use crate::policy::{Entry, Policy};
use crate::services::ServiceRegistry;

/// All warnings about the entries, in their order; one sentence each.
pub(super) fn of(
    policy: &Policy,
    listen: &[Located<Listen>],
    services: &ServiceRegistry,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, entry) in policy.entries().iter().enumerate() {
        let at = format!("{}: allow[{index}]", entry.origin);
        if !is_listened_on(entry, listen) {
            warnings.push(format!(
                "{at}.networks: aegis listens on no address of that family, so that no client can match"
            ));
        }
        if entry.identities.contains(&IdentityPattern::Any) {
            warnings.push(format!(
                "{at}.identities: \"*\" admits every certificate that the client CA issues; name the scrapers, such as \"dns:prometheus.example.org\""
            ));
        }
        for pattern in &entry.services {
            warnings.extend(
                without_socket(pattern, services).map(|why| format!("{at}.services: {why}")),
            );
        }
        if let Some(other) = covering(policy, index) {
            warnings.push(format!(
                "{at}: allow[{other}] allows everything that it allows; remove one of them"
            ));
        }
    }
    warnings
}

/// Explains that an entry names a service that does not exist now.
fn without_socket(pattern: &ServicePattern, services: &ServiceRegistry) -> Option<String> {
    let ServicePattern::Exact(service) = pattern else {
        return None;
    };
    if service.is_reserved() || services.knows(service) {
        return None;
    }
    Some(match service.without_suffix() {
        Some(name) => format!(
            "{service} has no socket now; if its file is {name}.sock, the service is called {name}"
        ),
        None => format!("{service} has no socket now"),
    })
}

/// Another entry that allows everything that this one allows. Of two equal entries, only the later
/// one is reported.
fn covering(policy: &Policy, index: usize) -> Option<usize> {
    let entries = policy.entries();
    let entry = entries.get(index)?;
    let covers = |(number, other): &(usize, &Entry)| {
        let is_first = *number < index || !entry.covers(other);
        *number != index && other.covers(entry) && is_first
    };
    let mut all = entries.iter().enumerate();
    all.find(covers).map(|(number, _)| number)
}

fn is_listened_on(entry: &Entry, listen: &[Located<Listen>]) -> bool {
    entry.networks.iter().any(|network| {
        listen.iter().any(|given| match given.value.address() {
            // An IPv4-mapped address is bound as the IPv4 address.
            Some(address) => accepts(address.ip().to_canonical(), network),
            // The .socket unit of systemd defines the family.
            None => true,
        })
    })
}

fn accepts(listened_on: IpAddr, network: &Network) -> bool {
    match listened_on {
        IpAddr::V4(_) => network.is_ipv4(),
        // [::] also accepts IPv4.
        IpAddr::V6(address) => !network.is_ipv4() || address.is_unspecified(),
    }
}
