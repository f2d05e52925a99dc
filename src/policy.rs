//! The policy: one list of allow entries decides which scraper may scrape which service.
//!
//! Entries are additive and their order does not matter. There are no denies.

pub mod peer;
pub mod networks;
pub mod identity;
pub mod service_name;

mod covering;

use std::fmt;
use std::sync::Arc;

use crate::policy::identity::{Identity, IdentityPattern};
use crate::policy::networks::Networks;
use crate::policy::peer::Peer;
use crate::policy::service_name::{ServiceName, ServicePattern};
use crate::refusal::Refusal;
use crate::text::origin::Origin;

/// The `[[allow]]` entries. Never empty: an empty policy is a configuration error.
#[derive(Debug)]
pub struct Policy {
    entries: Arc<Vec<Entry>>,
    /// The policy of a newer, invalid configuration: both must allow a scrape.
    restriction: Option<Arc<Self>>,
}

impl Policy {
    /// Makes a policy; `None` if there is no entry.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Option<Self> {
        (!entries.is_empty()).then(|| Self {
            entries: Arc::new(entries),
            restriction: None,
        })
    }

    /// The policy that allows nothing. It is only used as a restriction.
    pub(crate) fn nothing() -> Self {
        Self {
            entries: Arc::default(),
            restriction: None,
        }
    }

    /// The same policy with a restriction: both must allow a scrape.
    #[must_use]
    pub fn restricted_by(&self, restriction: Option<Arc<Self>>) -> Self {
        Self {
            entries: Arc::clone(&self.entries),
            restriction,
        }
    }

    /// Whether it has every entry of the other, and so allows everything that the other allows.
    #[must_use]
    pub fn has_every_entry_of(&self, other: &Self) -> bool {
        let has = |entry: &Entry| self.entries.iter().any(|own| own.grants_the_same_as(entry));
        other.entries.iter().all(has)
    }

    fn restriction_allows(&self, allows: impl FnOnce(&Self) -> bool) -> bool {
        self.restriction.as_deref().is_none_or(allows)
    }

    /// Whether any entry contains the peer's address. Checked before a TLS byte is read.
    #[must_use]
    pub fn admits(&self, peer: &Peer) -> bool {
        self.entries.iter().any(|entry| entry.holds(peer))
            && self.restriction_allows(|policy| policy.admits(peer))
    }

    /// Whether any entry admits this identity from this peer. Checked after the handshake, so that a
    /// client without any grant cannot send HTTP requests.
    #[must_use]
    pub fn knows(&self, peer: &Peer, identity: &Identity) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.admits(peer, identity).is_some())
            && self.restriction_allows(|policy| policy.knows(peer, identity))
    }

    /// The entries that admit this identity from this peer, each by its index and its location.
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
    /// [`Refusal::NotGranted`] if no single entry matches in all three columns, of a restriction too.
    pub fn authorize(
        &self,
        peer: &Peer,
        identity: &Identity,
        service: ServiceName,
    ) -> Result<Permit, Refusal> {
        let allows = |policy: &Self| policy.authorize(peer, identity, service.clone()).is_ok();
        if !self.restriction_allows(allows) {
            return Err(Refusal::NotGranted);
        }
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

    /// The result of each entry for one scrape, column by column, in the order of the configuration.
    ///
    /// [`Policy::authorize`] grants by the first entry whose columns all match.
    pub fn columns(
        &self,
        peer: &Peer,
        identity: &Identity,
        service: &ServiceName,
    ) -> impl Iterator<Item = Columns<'_>> {
        let column = |yes| {
            if yes {
                ColumnMatch::Yes
            } else {
                ColumnMatch::No
            }
        };
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
    /// The networks that scrapers may connect from.
    pub networks: Networks,
    /// The identities of scrapers. An empty list matches none.
    pub identities: Vec<IdentityPattern>,
    /// The services that they may scrape. An empty list grants none.
    pub services: Vec<ServicePattern>,
    /// Where the entry is written.
    pub origin: Origin,
}

impl Entry {
    fn grants_the_same_as(&self, other: &Self) -> bool {
        self.networks == other.networks
            && self.identities == other.identities
            && self.services == other.services
    }

    fn admits(&self, peer: &Peer, identity: &Identity) -> Option<String> {
        if !self.holds(peer) {
            return None;
        }
        self.matched(identity)
    }

    /// The first column: whether it contains the address.
    fn holds(&self, peer: &Peer) -> bool {
        self.networks.contain(peer)
    }

    /// The second column: the name or key of the identity that matches.
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

/// The results of one entry's columns for a scrape. It is granted if all match.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// The entry's index in the policy, from 0.
    pub number: usize,
    /// The entry.
    pub entry: &'a Entry,
    /// Whether a network contains the peer.
    pub networks: ColumnMatch,
    /// Whether a pattern matches the identity.
    pub identities: ColumnMatch,
    /// Whether a pattern matches the service.
    pub services: ColumnMatch,
}

/// The result of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnMatch {
    /// It matches.
    Yes,
    /// It does not match, so the entry does not grant.
    No,
}

impl fmt::Display for ColumnMatch {
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
/// consumes it:
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

    /// The name or pin that matched, as logs show it.
    #[must_use]
    pub fn matched(&self) -> &str {
        &self.matched
    }

    /// The index of the deciding entry in the policy, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Where the deciding entry is written.
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
    fn columns_report_each_match() {
        let policy = Policy::new(vec![
            entry("192.0.2.0/24", "dns:a.example.org", "team-a-*"),
            entry("198.51.100.0/24", "dns:b.example.org", "team-b-*"),
        ])
        .unwrap();
        let (here, scraper) = (peer("198.51.100.1"), scraper("b.example.org"));
        let service: ServiceName = "team-a-web".parse().unwrap();
        let columns = policy.columns(&here, &scraper, &service);
        let rows = columns.map(|entry| {
            let columns = [entry.networks, entry.identities, entry.services];
            (
                entry.number,
                columns.map(|column| column.to_string()).join(" "),
            )
        });
        let rows: Vec<_> = rows.collect();
        assert_eq!(
            rows,
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
    fn one_entry_must_match_address_and_identity() {
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
