//! The policy: one list of allow entries that answers every question of who may scrape what.
//!
//! Entries are additive and their order does not matter. There are no denies.

use crate::identity::{Identity, IdentityPattern};
use crate::networks::Networks;
use crate::origin::Origin;
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::service::{ServiceName, ServicePattern};

/// The `[[allow]]` entries. Never empty: nobody could scrape, which nobody means.
#[derive(Debug)]
pub struct Policy {
    entries: Vec<Entry>,
}

impl Policy {
    /// Makes a policy; `None` if there is no entry.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Option<Self> {
        (!entries.is_empty()).then_some(Self { entries })
    }

    /// Whether any entry holds the peer's network. Asked before a TLS byte is read.
    #[must_use]
    pub fn admits(&self, peer: &Peer) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.networks.contain(peer))
    }

    /// The name by which an entry admits this identity from this peer. Asked after the
    /// handshake, so that nobody without any grant gets to speak HTTP.
    #[must_use]
    pub fn knows(&self, peer: &Peer, identity: &Identity) -> Option<String> {
        self.entries
            .iter()
            .find_map(|entry| entry.admits(peer, identity))
    }

    /// Decides one request of one scraper for one service.
    ///
    /// # Errors
    /// [`Refusal::NotGranted`] if no single entry matches in all three columns.
    pub fn authorize(
        &self,
        peer: &Peer,
        identity: &Identity,
        service: ServiceName,
    ) -> Result<Permit, Refusal> {
        for entry in &self.entries {
            if !entry.grants(&service) {
                continue;
            }
            if let Some(matched) = entry.admits(peer, identity) {
                return Ok(Permit {
                    service,
                    matched,
                    entry: entry.origin.clone(),
                });
            }
        }
        Err(Refusal::NotGranted)
    }

    /// The entries in the order of the configuration.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// One grant: networks × identities × services.
#[derive(Debug)]
pub struct Entry {
    /// Where scrapers may come from.
    pub networks: Networks,
    /// Who they may be. An empty list matches nobody.
    pub identities: Vec<IdentityPattern>,
    /// What they may scrape. An empty list grants nothing.
    pub services: Vec<ServicePattern>,
    /// Where the entry was written.
    pub origin: Origin,
}

impl Entry {
    fn admits(&self, peer: &Peer, identity: &Identity) -> Option<String> {
        if !self.networks.contain(peer) {
            return None;
        }
        self.identities
            .iter()
            .find_map(|pattern| pattern.matched(identity))
    }

    fn grants(&self, service: &ServiceName) -> bool {
        self.services.iter().any(|pattern| pattern.matches(service))
    }
}

/// Proof that one request of one scraper for one service was granted.
///
/// Only [`Policy::authorize`] makes one, it cannot be copied, and connecting to the service
/// uses it up:
///
/// ```
/// fn use_up(permit: aegis::policy::Permit) {}
/// fn twice(permit: aegis::policy::Permit) { use_up(permit); }
/// ```
/// ```compile_fail
/// fn use_up(permit: aegis::policy::Permit) {}
/// fn twice(permit: aegis::policy::Permit) { use_up(permit); use_up(permit); }
/// ```
#[derive(Debug)]
pub struct Permit {
    service: ServiceName,
    matched: String,
    entry: Origin,
}

impl Permit {
    /// The service that was granted.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The name or pin that an entry admitted, as logs show it.
    #[must_use]
    pub fn matched(&self) -> &str {
        &self.matched
    }

    /// Where the deciding entry was written.
    #[must_use]
    pub fn entry(&self) -> &Origin {
        &self.entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(network: &str, identity: &str, service: &str) -> Entry {
        Entry {
            networks: Networks::try_from(vec![network.parse().unwrap()]).unwrap(),
            identities: vec![identity.parse().unwrap()],
            services: vec![service.parse().unwrap()],
            origin: Origin::Unset,
        }
    }

    fn scraper(name: &str) -> Identity {
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        Identity::from_leaf(params.self_signed(&key).unwrap().der()).unwrap()
    }

    fn peer(address: &str) -> Peer {
        Peer::new(format!("{address}:1").parse().unwrap())
    }

    #[test]
    fn a_policy_without_entries_cannot_exist() {
        assert!(Policy::new(vec![]).is_none());
    }

    #[test]
    fn one_entry_must_match_in_all_three_columns() {
        let policy = Policy::new(vec![
            entry("192.0.2.0/24", "dns:a.example.org", "team-a-*"),
            entry("198.51.100.0/24", "dns:b.example.org", "team-b-*"),
        ])
        .unwrap();
        let cases = [
            ("192.0.2.1", "a.example.org", "team-a-web", true),
            ("198.51.100.1", "b.example.org", "team-b-web", true),
            // Each column is matched by some entry, but no entry matches them all.
            ("198.51.100.1", "a.example.org", "team-a-web", false),
            ("192.0.2.1", "b.example.org", "team-a-web", false),
            ("192.0.2.1", "a.example.org", "team-b-web", false),
            ("203.0.113.1", "a.example.org", "team-a-web", false),
        ];
        for (address, name, service, expected) in cases {
            let decided =
                policy.authorize(&peer(address), &scraper(name), service.parse().unwrap());
            match decided {
                Ok(permit) => {
                    assert!(expected, "{address} {name} {service} was granted");
                    assert_eq!(permit.service().as_str(), service);
                    assert_eq!(permit.matched(), format!("dns:{name}"));
                }
                Err(refusal) => {
                    assert!(!expected, "{address} {name} {service} was refused");
                    assert_eq!(refusal, Refusal::NotGranted);
                }
            }
        }
    }

    #[test]
    fn address_and_identity_are_asked_of_one_entry() {
        let policy = Policy::new(vec![
            entry("192.0.2.0/24", "dns:a.example.org", "*"),
            entry("198.51.100.0/24", "dns:b.example.org", "*"),
        ])
        .unwrap();
        assert!(policy.admits(&peer("198.51.100.1")));
        assert!(!policy.admits(&peer("203.0.113.1")));
        let known = |address, name| policy.knows(&peer(address), &scraper(name)).is_some();
        assert!(known("192.0.2.1", "a.example.org"));
        assert!(!known("198.51.100.1", "a.example.org"));
    }
}
