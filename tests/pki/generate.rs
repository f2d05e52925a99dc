//! Random PKIs: valid ones with a few changes.

use crate::der::{Bytes, Certificate, Crl, Extension, octets};
use crate::extensions::*;
use crate::keys::{Key, SIGNING_KEYS, Signing};
use crate::names::good_names;
use crate::random::Random;

/// A PKI in DER, with a list of its changes.
#[derive(Clone)]
pub struct Case {
    pub seed: u64,
    pub number: usize,
    pub changes: Vec<String>,
    pub roots: Vec<Bytes>,
    /// Leaf first, as a scraper sends it.
    pub chain: Vec<Bytes>,
    pub crls: Vec<Bytes>,
    /// The index of the leaf's key.
    pub key: usize,
}

impl Case {
    /// What repeats it.
    pub fn name(&self) -> String {
        format!("case --seed {} --only {}", self.seed, self.number)
    }
}

pub const DAY: i64 = 24 * 3600;

/// A PKI before it is signed.
pub struct Pki<'a> {
    pub random: &'a mut Random,
    /// What the generator learned later draws from this stream, so that the kept cases stay what
    /// they are.
    pub more: &'a mut Random,
    pub now: i64,
    /// Leaf first, the root last.
    pub path: Vec<Certificate>,
    /// Whether the root of the path is a client CA.
    pub trusts_root: bool,
    /// Further client CAs, and further certificates that the scraper sends.
    pub more_roots: Vec<Certificate>,
    pub more_sent: Vec<Certificate>,
    pub crls: Vec<Crl>,
    pub changes: Vec<String>,
}

pub fn case(number: usize, seed: u64, now: i64, keys: &[Key]) -> Case {
    let mut random = Random::new(seed, number as u64);
    let depth = random.weighted(&[30, 43, 17, 6, 2, 2]);
    let mut more = Random::new(!seed, number as u64);
    let mut pki = Pki::good(&mut random, &mut more, depth, now, keys);
    let changes = pki.random.weighted(&[12, 48, 28, 12]);
    for _ in 0..changes {
        pki.change(keys);
    }
    pki.change_later(keys);
    let mut case = pki.issue(seed, number, keys);
    spoil(&mut case, &mut random);
    case
}

/// Changes what is signed, or what of it is sent.
fn spoil(case: &mut Case, random: &mut Random) {
    let Case {
        changes,
        chain,
        crls,
        ..
    } = case;
    if random.one_in(25) && chain.len() > 1 {
        chain.remove(1);
        changes.push("an intermediate is not sent".to_owned());
    }
    if random.one_in(25) && chain.len() > 2 {
        chain.swap(1, 2);
        changes.push("intermediates in another order".to_owned());
    }
    if random.one_in(60) {
        let place = random.below(chain.len());
        let octet = chain[place].len() - 1 - random.below(8);
        chain[place][octet] ^= 1;
        changes.push(format!("{place}: another signature"));
    }
    if random.one_in(80) && !crls.is_empty() {
        let octet = crls[0].len() - 1;
        crls[0][octet] ^= 1;
        changes.push("crl: another signature".to_owned());
    }
}

impl Certificate {
    /// A second client CA, which issued nothing.
    pub fn another_ca(&self, critical: bool) -> Self {
        let mut other = self.clone();
        other.subject = "another ca".to_owned();
        other.issuer = "another ca".to_owned();
        let unknown = Extension::new(UNKNOWN, critical, vec![5, 0]);
        other.extensions.push(unknown);
        other
    }
}

impl<'a> Pki<'a> {
    /// The PKI of a correct CA.
    fn good(
        random: &'a mut Random,
        more: &'a mut Random,
        depth: usize,
        now: i64,
        keys: &[Key],
    ) -> Self {
        // Each certificate has its own key.
        let mut free: Vec<usize> = (0..SIGNING_KEYS).collect();
        let own: Vec<usize> = (0..depth + 2)
            .map(|_| free.remove(random.below(free.len())))
            .collect();
        let path: Vec<Certificate> = (0..depth + 2)
            .map(|place| {
                let issuer = (place + 1).min(depth + 1);
                let (key, signer) = (own[place], own[issuer]);
                let names = (place == 0).then(|| good_names(random, more));
                let extensions = good_extensions(names, &keys[key], &keys[signer]);
                Certificate {
                    version: 3,
                    serial: vec![
                        1 + random.below(126) as u8,
                        place as u8,
                        random.below(256) as u8,
                    ],
                    issuer: format!("ca {issuer}"),
                    subject: if place == 0 {
                        "leaf".to_owned()
                    } else {
                        format!("ca {place}")
                    },
                    from: now - 10 * DAY,
                    to: now + 300 * DAY,
                    key,
                    signer,
                    odd_from: None,
                    odd_to: None,
                    signing: Signing::Usual,
                    extensions,
                }
            })
            .collect();
        let mut pki = Self {
            random,
            more,
            now,
            path,
            trusts_root: true,
            more_roots: Vec::new(),
            more_sent: Vec::new(),
            crls: Vec::new(),
            changes: Vec::new(),
        };
        if pki.random.below(100) < 40 {
            for issuer in 1..pki.path.len() {
                let crl = pki.crl(issuer, keys);
                pki.crls.push(crl);
            }
        }
        pki.name_points();
        pki
    }

    /// Signs everything.
    fn issue(self, seed: u64, number: usize, keys: &[Key]) -> Case {
        let der = |all: &[Certificate]| all.iter().map(|one| one.der(keys)).collect::<Vec<_>>();
        let (root, sent) = self.path.split_last().unwrap();
        let mut roots = der(&self.more_roots);
        if self.trusts_root {
            let front = self.random.one_in(2);
            roots.insert(if front { 0 } else { roots.len() }, root.der(keys));
        }
        let mut chain = der(sent);
        for more in der(&self.more_sent) {
            let place = 1 + self.random.below(chain.len());
            chain.insert(place, more);
        }
        Case {
            seed,
            number,
            key: self.path[0].key,
            crls: self.crls.iter().map(|crl| crl.der(keys)).collect(),
            changes: self.changes,
            roots,
            chain,
        }
    }

    /// Changes one thing.
    fn change(&mut self, keys: &[Key]) {
        if !self.crls.is_empty() && self.random.below(100) < 45 {
            self.change_crls(keys);
            return;
        }
        if self.random.one_in(6) {
            self.change_structure(keys);
            return;
        }
        // Most changes are in the leaf and its issuer.
        let place = match self.random.weighted(&[40, 40, 20]) {
            2 => self.path.len() - 1,
            place => place.min(self.path.len() - 1),
        };
        let role = self.role(place);
        let change = match self.random.below(3) {
            0 => self.change_frame(place, keys),
            1 => self.change_rights(place),
            _ => self.change_extensions(place, keys),
        };
        self.changes.push(format!("{role}: {change}"));
    }

    /// The word for a place of the path.
    pub fn role(&self, place: usize) -> &'static str {
        match place {
            0 => "leaf",
            place if place == self.path.len() - 1 => "root",
            _ => "intermediate",
        }
    }

    pub fn set(&mut self, place: usize, oid: &'static [u64], value: Option<(bool, Bytes)>) {
        let extensions = &mut self.path[place].extensions;
        extensions.retain(|extension| extension.oid != oid);
        if let Some((critical, value)) = value {
            extensions.push(Extension::new(oid, critical, value));
        }
    }
}

/// Those of a leaf with these names, or of a CA.
fn good_extensions(names: Option<Bytes>, key: &Key, signer: &Key) -> Vec<Extension> {
    let mut extensions = vec![
        Extension::new(SUBJECT_KEY, false, octets(&key.id())),
        Extension::new(AUTHORITY_KEY, false, authority_key(&signer.id())),
    ];
    extensions.extend(match names {
        Some(names) => vec![
            Extension::new(BASIC, true, basic(false, None)),
            Extension::new(USAGE, true, usage(&[0])),
            Extension::new(PURPOSE, false, purposes(&[2])),
            Extension::new(NAMES, false, names),
        ],
        None => vec![
            Extension::new(BASIC, true, basic(true, None)),
            Extension::new(USAGE, true, usage(&[5, 6])),
        ],
    });
    extensions
}
