//! The policy: one list of allow entries that answers every question of who may scrape what.
//!
//! Entries are additive and their order does not matter. There are no denies.

use std::fmt;

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
        self.entries.iter().any(|entry| entry.holds(peer))
    }

    /// Whether any entry admits this identity from this peer. Asked after the handshake, so that
    /// nobody without any grant gets to speak HTTP.
    #[must_use]
    pub fn knows(&self, peer: &Peer, identity: &Identity) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.admits(peer, identity).is_some())
    }

    /// The entries that admit this identity from this peer, each by its place and where it was
    /// written.
    #[must_use]
    pub fn admitting(&self, peer: &Peer, identity: &Identity) -> Vec<String> {
        let entries = self.entries.iter().enumerate();
        entries
            .filter(|(_, entry)| entry.admits(peer, identity).is_some())
            .map(|(number, entry)| format!("allow[{number}] ({})", entry.origin))
            .collect()
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
        for (number, entry) in self.entries.iter().enumerate() {
            if !entry.grants(&service) {
                continue;
            }
            if let Some(matched) = entry.admits(peer, identity) {
                return Ok(Permit {
                    service,
                    matched,
                    number,
                    entry: entry.origin.clone(),
                });
            }
        }
        Err(Refusal::NotGranted)
    }

    /// What each entry says to one scrape, column by column, in the order of the configuration.
    ///
    /// [`Policy::authorize`] grants by the first entry whose columns all say yes.
    pub fn columns(
        &self,
        peer: &Peer,
        identity: &Identity,
        service: &ServiceName,
    ) -> impl Iterator<Item = Columns<'_>> {
        let column = |yes| if yes { Says::Yes } else { Says::No };
        self.entries
            .iter()
            .enumerate()
            .map(move |(number, entry)| Columns {
                number,
                entry,
                networks: column(entry.holds(peer)),
                identities: column(entry.matched(identity).is_some()),
                services: column(entry.grants(service)),
            })
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
        if !self.holds(peer) {
            return None;
        }
        self.matched(identity)
    }

    /// The first column.
    fn holds(&self, peer: &Peer) -> bool {
        self.networks.contain(peer)
    }

    /// The second column: what of the identity it matches.
    fn matched(&self, identity: &Identity) -> Option<String> {
        self.identities
            .iter()
            .find_map(|pattern| pattern.matched(identity))
    }

    /// The third column: whether it grants the service.
    #[must_use]
    pub fn grants(&self, service: &ServiceName) -> bool {
        self.services.iter().any(|pattern| pattern.matches(service))
    }
}

/// What the columns of one entry say to a scrape. It is granted if all say yes.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// The entry's place in the policy, from 0.
    pub number: usize,
    /// The entry.
    pub entry: &'a Entry,
    /// Whether a network holds the peer.
    pub networks: Says,
    /// Whether a pattern matches the identity.
    pub identities: Says,
    /// Whether a pattern matches the service.
    pub services: Says,
}

/// What one column says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// It matches.
    Yes,
    /// It keeps the entry from granting.
    No,
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
        })
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
    number: usize,
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

    /// The place of the deciding entry in the policy, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
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
    fn every_entry_says_what_each_of_its_columns_says() {
        let policy = Policy::new(vec![
            entry("192.0.2.0/24", "dns:a.example.org", "team-a-*"),
            entry("198.51.100.0/24", "dns:b.example.org", "team-b-*"),
        ])
        .unwrap();
        let (here, scraper) = (peer("198.51.100.1"), scraper("b.example.org"));
        let service: ServiceName = "team-a-web".parse().unwrap();
        let columns = policy.columns(&here, &scraper, &service);
        let said = columns.map(|entry| {
            let columns = [entry.networks, entry.identities, entry.services];
            (entry.number, columns.map(|says| says.to_string()).join(" "))
        });
        let said: Vec<_> = said.collect();
        assert_eq!(
            said,
            [(0, "no no yes".to_owned()), (1, "yes yes no".to_owned())]
        );
        assert_eq!(policy.entries().len(), 2);
        assert_eq!(
            policy.admitting(&here, &scraper),
            ["allow[1] (configuration)"]
        );
        assert!(policy.admitting(&peer("192.0.2.1"), &scraper).is_empty());
        let permit = policy.authorize(&here, &scraper, "team-b-web".parse().unwrap());
        let permit = permit.unwrap();
        assert_eq!((permit.number(), permit.entry()), (1, &Origin::Unset));
        let first = peer("192.0.2.1");
        let permit = policy.authorize(&first, &self::scraper("a.example.org"), service);
        assert_eq!(permit.unwrap().number(), 0);
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
        let known = |address, name| policy.knows(&peer(address), &scraper(name));
        assert!(known("192.0.2.1", "a.example.org"));
        assert!(!known("198.51.100.1", "a.example.org"));
    }
}
