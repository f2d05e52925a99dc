//! Stage 4: the policy, `aegis explain` and a naive model agree on every case.

use std::net::{IpAddr, SocketAddr};

use aegis::policy::identity::{Claim, Identity};
use aegis::policy::networks::{Network, Networks};
use aegis::policy::peer::Peer;
use aegis::policy::service_name::ServiceName;
use aegis::policy::{ColumnMatch, Entry, Policy};
use aegis::refusal::Refusal;
use aegis::text::origin::Origin;

/// Small alphabets, so that columns match often and for many reasons.
const NETWORKS: &[&str] = &[
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "10.0.0.0/30",
    "10.0.0.1",
    "10.0.0.2/31",
    "192.0.2.0/25",
    "192.0.2.128/25",
    "2001:db8::/32",
    "2001:db8::/127",
    "2001:db8::2",
    "fe80::/10",
];
const ADDRESSES: &[&str] = &[
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.255.0.1",
    "11.0.0.1",
    "192.0.2.127",
    "192.0.2.128",
    "::ffff:10.0.0.1",
    "::ffff:192.0.2.1",
    "::1",
    "2001:db8::",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db9::",
    "fe80::1",
];
const PATTERNS: &[&str] = &[
    "*",
    "dns:a.e.org",
    "dns:b.e.org",
    "dns:*.e.org",
    "dns:*.org",
    "uri:spiffe://e.org/p",
    "spiffe://e.org/*",
    "spiffe://e.org/p/*",
    "ip:10.0.0.1",
    "ip:::1",
    "email:a@e.org",
    "email:A@e.org",
    "spki:sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
];
const NAMES: &[&str] = &[
    "dns:a.e.org",
    "dns:b.e.org",
    "dns:a.b.e.org",
    "dns:e.org",
    "dns:ae.org",
    "uri:spiffe://e.org/p",
    "uri:spiffe://e.org/p/q",
    "uri:spiffe://e.org/",
    "uri:spiffe://e.org.net/p",
    "ip:10.0.0.1",
    "ip:::1",
    "email:a@e.org",
    "email:A@e.org",
    "spki:sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "spki:sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=",
];
const GRANTS: &[&str] = &["*", "node", "team-*", "team-a*", "team-a", "metrics", "n*"];
const SERVICES: &[&str] = &[
    "node", "nod", "team-", "team-a", "team-ab", "team-b", "metrics", "Node",
];

/// xorshift64* with a seed of its own: the same cases each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let rolled = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(rolled).unwrap() % end
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    fn pick_some(&mut self, of: &[&'static str], most: usize) -> Vec<&'static str> {
        (0..=self.below(most)).map(|_| self.pick(of)).collect()
    }
}

/// An entry as an operator writes it.
struct EntryText {
    networks: Vec<&'static str>,
    identities: Vec<&'static str>,
    services: Vec<&'static str>,
}

impl EntryText {
    fn random(dice: &mut Dice) -> Self {
        Self {
            networks: dice.pick_some(NETWORKS, 2),
            identities: dice.pick_some(PATTERNS, 3),
            services: dice.pick_some(GRANTS, 2),
        }
    }

    fn parsed(&self) -> Entry {
        let networks: Vec<Network> = self
            .networks
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        Entry {
            networks: Networks::try_from(networks).unwrap(),
            identities: self
                .identities
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
            services: self
                .services
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
            origin: Origin::Unset,
        }
    }

    /// The three columns, computed from the text.
    fn columns_for(&self, address: &str, names: &[&str], service: &str) -> [bool; 3] {
        let bits = bits(address);
        [
            self.networks
                .iter()
                .any(|network| network_contains(network, &bits)),
            self.identities
                .iter()
                .any(|pattern| names.iter().any(|name| pattern_matches(pattern, name))),
            self.services
                .iter()
                .any(|pattern| match pattern.strip_suffix('*') {
                    Some(start) => service.starts_with(start),
                    None => service == *pattern,
                }),
        ]
    }
}

/// An address as a string of bits. An IPv4-mapped address becomes IPv4.
fn bits(address: &str) -> String {
    let octets = match address.trim_start_matches("::ffff:").parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    octets.iter().map(|octet| format!("{octet:08b}")).collect()
}

fn network_contains(network: &str, address: &str) -> bool {
    let (base, prefix) = network.split_once('/').unwrap_or((network, "128"));
    let base = bits(base);
    let prefix = prefix.parse::<usize>().unwrap().min(base.len());
    base.len() == address.len() && base.get(..prefix) == address.get(..prefix)
}

fn pattern_matches(pattern: &str, name: &str) -> bool {
    let pattern = match pattern.starts_with("spiffe:") {
        true => format!("uri:{pattern}"),
        false => pattern.to_owned(),
    };
    if pattern == "*" || pattern == name {
        return true;
    }
    if let Some(suffix) = pattern.strip_prefix("dns:*.") {
        let host = name
            .strip_prefix("dns:")
            .and_then(|name| name.split_once('.'));
        return host.is_some_and(|(label, rest)| !label.is_empty() && rest == suffix);
    }
    let below = pattern
        .strip_suffix('*')
        .and_then(|prefix| name.strip_prefix(prefix));
    below.is_some_and(|rest| !rest.is_empty())
}

fn random_names(dice: &mut Dice) -> Vec<&'static str> {
    let mut names = dice.pick_some(NAMES, 3);
    // A certificate has one key.
    let key = names.iter().position(|name| name.starts_with("spki:"));
    let mut at = 0;
    names.retain(|name| {
        at += 1;
        !name.starts_with("spki:") || key == Some(at - 1)
    });
    names
}

/// Asserts that an entry which covers another allows what the other allows, and counts such pairs.
fn assert_covering(policy: &Policy, columns: &[[bool; 3]], case: &str) -> usize {
    let mut pairs = 0;
    for (entry, allows) in policy.entries().iter().zip(columns) {
        for (other, other_allows) in policy.entries().iter().zip(columns) {
            if entry.covers(other) && *other_allows == [true; 3] {
                assert_eq!(*allows, [true; 3], "{entry:?} {other:?} {case}");
                pairs += usize::from(!std::ptr::eq(entry, other));
            }
        }
    }
    pairs
}

#[test]
fn policy_explain_and_a_naive_model_agree_on_100_000_cases() {
    let mut dice = Dice(0x6165_6769_7321_2121);
    let mut granted = 0;
    let mut covered = 0;
    for _ in 0..5_000 {
        let written: Vec<EntryText> = (0..=dice.below(4))
            .map(|_| EntryText::random(&mut dice))
            .collect();
        let policy = Policy::new(written.iter().map(EntryText::parsed).collect()).unwrap();
        for _ in 0..20 {
            let (from, to) = (dice.pick(ADDRESSES), dice.pick(SERVICES));
            let names = random_names(&mut dice);
            let peer = Peer::new(SocketAddr::new(from.parse().unwrap(), 1));
            let service: ServiceName = to.parse().unwrap();
            let claims = names.iter().map(|name| name.parse::<Claim>().unwrap());
            let identity = Identity::claimed(claims).unwrap();
            let case = format!("{from} {names:?} {to}");

            let expected: Vec<[bool; 3]> = written
                .iter()
                .map(|entry| entry.columns_for(from, &names, to))
                .collect();
            let columns = policy.columns(&peer, &identity, &service);
            let explained: Vec<[bool; 3]> = columns
                .map(|entry| {
                    [entry.networks, entry.identities, entry.services]
                        .map(|column| column == ColumnMatch::Yes)
                })
                .collect();
            assert_eq!(explained, expected, "{case}");
            covered += assert_covering(&policy, &expected, &case);
            let any = |columns: &[usize]| {
                let all = |entry: &[bool; 3]| columns.iter().all(|column| entry[*column]);
                expected.iter().position(all)
            };
            assert_eq!(policy.admits(&peer), any(&[0]).is_some(), "{case}");
            assert_eq!(
                policy.knows(&peer, &identity),
                any(&[0, 1]).is_some(),
                "{case}"
            );
            match policy.authorize(&peer, &identity, service) {
                Ok(permit) => {
                    granted += 1;
                    assert_eq!(Some(permit.number()), any(&[0, 1, 2]), "{case}");
                    assert!(names.contains(&permit.matched()), "{case}");
                    assert_eq!(permit.service().as_str(), to);
                }
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::NotGranted);
                    assert_eq!(any(&[0, 1, 2]), None, "{case}");
                }
            }
        }
    }
    // Both results must be common, or the cases are not random enough.
    assert!((10_000..90_000).contains(&granted), "{granted}");
    assert!(covered > 100, "{covered}");
}
