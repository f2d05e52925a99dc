//! Random PKIs: valid ones with a few changes.

use crate::der::{Bytes, Certificate, Crl, Extension, Key, name, octets, oid, sequence, tlv};
use crate::extensions::*;
use crate::names::{constraints, good_names, names};
use crate::random::Random;

/// A PKI in DER, with a list of its changes.
#[derive(Clone)]
pub struct Case {
    pub number: usize,
    pub changes: Vec<String>,
    pub roots: Vec<Bytes>,
    /// Leaf first, as a scraper sends it.
    pub chain: Vec<Bytes>,
    pub crls: Vec<Bytes>,
}

pub const DAY: i64 = 24 * 3600;

/// A PKI before it is signed.
pub struct Pki<'a> {
    pub random: &'a mut Random,
    pub now: i64,
    /// Leaf first, the root last.
    pub path: Vec<Certificate>,
    pub crls: Vec<Crl>,
    pub changes: Vec<String>,
}

pub fn case(number: usize, seed: u64, now: i64, keys: &[Key]) -> Case {
    let mut random = Random::new(seed, number as u64);
    let depth = random.weighted(&[30, 43, 17, 6, 2, 2]);
    let mut pki = Pki::good(&mut random, depth, now, keys);
    let changes = pki.random.weighted(&[12, 48, 28, 12]);
    for _ in 0..changes {
        pki.change(keys);
    }
    let (mut roots, mut chain) = (Vec::new(), Vec::new());
    let last = pki.path.len() - 1;
    for (place, certificate) in pki.path.iter().enumerate() {
        let der = certificate.der(keys);
        match place == last {
            true => roots.push(der),
            false => chain.push(der),
        }
    }
    let mut crls: Vec<Bytes> = pki.crls.iter().map(|crl| crl.der(keys)).collect();
    let Pki {
        path, mut changes, ..
    } = pki;
    if random.one_in(40) {
        let critical = random.one_in(2);
        roots.push(path[last].another_ca(critical).der(keys));
        changes.push(format!(
            "another CA with an unknown extension, critical {critical}"
        ));
    }
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
    Case {
        number,
        changes,
        roots,
        chain,
        crls,
    }
}

impl Certificate {
    /// A second client CA, which issued nothing.
    fn another_ca(&self, critical: bool) -> Self {
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
    fn good(random: &'a mut Random, depth: usize, now: i64, keys: &[Key]) -> Self {
        // Each certificate has its own key.
        let mut free: Vec<usize> = (0..keys.len()).collect();
        let own: Vec<usize> = (0..depth + 2)
            .map(|_| free.remove(random.below(free.len())))
            .collect();
        let path: Vec<Certificate> = (0..depth + 2)
            .map(|place| {
                let issuer = (place + 1).min(depth + 1);
                let (key, signer) = (own[place], own[issuer]);
                let mut extensions = vec![
                    Extension::new(SUBJECT_KEY, false, octets(&keys[key].id())),
                    Extension::new(AUTHORITY_KEY, false, authority_key(&keys[signer].id())),
                ];
                if place == 0 {
                    extensions.push(Extension::new(BASIC, true, basic(false, None)));
                    extensions.push(Extension::new(USAGE, true, usage(&[0])));
                    extensions.push(Extension::new(PURPOSE, false, purposes(&[2])));
                    extensions.push(Extension::new(NAMES, false, good_names(random)));
                } else {
                    extensions.push(Extension::new(BASIC, true, basic(true, None)));
                    extensions.push(Extension::new(USAGE, true, usage(&[5, 6])));
                }
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
                    extensions,
                    other_algorithm: false,
                }
            })
            .collect();
        let mut pki = Self {
            random,
            now,
            path,
            crls: Vec::new(),
            changes: Vec::new(),
        };
        if pki.random.below(100) < 40 {
            for issuer in 1..pki.path.len() {
                let crl = pki.crl(issuer, keys);
                pki.crls.push(crl);
            }
        }
        pki
    }

    /// Changes one thing.
    fn change(&mut self, keys: &[Key]) {
        if !self.crls.is_empty() && self.random.below(100) < 45 {
            self.change_crls(keys);
            return;
        }
        // Most changes are in the leaf and its issuer.
        let place = match self.random.weighted(&[40, 40, 20]) {
            2 => self.path.len() - 1,
            place => place.min(self.path.len() - 1),
        };
        let role = match place {
            0 => "leaf",
            place if place == self.path.len() - 1 => "root",
            _ => "intermediate",
        };
        let change = match self.random.below(3) {
            0 => self.change_frame(place, keys).to_owned(),
            1 => self.change_rights(place),
            _ => self.change_extensions(place, keys),
        };
        self.changes.push(format!("{role}: {change}"));
    }

    fn set(&mut self, place: usize, oid: &'static [u64], value: Option<(bool, Bytes)>) {
        let extensions = &mut self.path[place].extensions;
        extensions.retain(|extension| extension.oid != oid);
        if let Some((critical, value)) = value {
            extensions.push(Extension::new(oid, critical, value));
        }
    }

    /// Version, serial number, names, validity, keys.
    fn change_frame(&mut self, place: usize, keys: &[Key]) -> &'static str {
        let (now, kind) = (self.now, self.random.below(14));
        let other_key = self.random.below(keys.len());
        if kind == 13 {
            return self.issue_itself(place);
        }
        let own = &mut self.path[place];
        match kind {
            0 => own.to = now - DAY,
            1 => own.from = now + DAY,
            2 => own.to = now - 20 * DAY,
            3 => own.serial = vec![0],
            4 => own.serial = vec![0x80, 1],
            5 => own.serial = vec![0x11; 21],
            6 => own.serial = vec![0x11; 20],
            7 => own.serial.insert(0, 0),
            8 => own.version = 1,
            9 => own.other_algorithm = true,
            10 => own.signer = other_key,
            11 => {
                own.subject.clear();
                if place > 0 {
                    self.path[place - 1].issuer.clear();
                }
            }
            _ => own.issuer.push('x'),
        }
        const SAID: [&str; 13] = [
            "expired",
            "not yet valid",
            "ends before it begins",
            "serial number zero",
            "negative serial number",
            "serial number of 21 octets",
            "serial number of 20 octets",
            "padded serial number",
            "version 1",
            "other algorithm inside",
            "signed by another key",
            "no subject",
            "names another issuer",
        ];
        SAID[kind]
    }

    /// Gives an intermediate the name of its issuer, as after a change of the issuer's key.
    fn issue_itself(&mut self, place: usize) -> &'static str {
        if place == 0 || place == self.path.len() - 1 {
            return "no change";
        }
        let name = self.path[place].issuer.clone();
        let key = self.path[place].key;
        for crl in self.crls.iter_mut().filter(|crl| crl.signer == key) {
            crl.issuer.clone_from(&name);
        }
        self.path[place].subject.clone_from(&name);
        self.path[place - 1].issuer = name;
        "issued by a CA of its own name"
    }

    /// Changes basicConstraints, keyUsage or extKeyUsage.
    fn change_rights(&mut self, place: usize) -> String {
        let critical = self.random.one_in(2);
        let change = match self.random.below(4) {
            0 => {
                const LENGTHS: [Option<&[u8]>; 5] =
                    [None, Some(&[0]), Some(&[1]), Some(&[0, 1]), Some(&[0xff])];
                let value = match self.random.below(4) {
                    0 => None,
                    1 => Some(basic(false, None)),
                    kind => Some(basic(kind == 2 || place > 0, LENGTHS[self.random.below(5)])),
                };
                let change = format!("basicConstraints {value:?}");
                self.set(place, BASIC, value.map(|value| (critical, value)));
                change
            }
            1 => {
                const USAGES: [&[u8]; 8] =
                    [&[0], &[2], &[5], &[6], &[5, 6], &[0, 5, 6], &[1, 2], &[4]];
                let value = self.random.pick(&USAGES);
                let is_there = !self.random.one_in(6);
                let change = format!("keyUsage {:?}", is_there.then_some(value));
                self.set(place, USAGE, is_there.then(|| (critical, usage(value))));
                change
            }
            _ => {
                const PURPOSES: [&[u64]; 7] = [&[1], &[2], &[0], &[1, 2], &[0, 2], &[4, 3], &[]];
                let value = self.random.pick(&PURPOSES);
                let is_there = !self.random.one_in(6);
                let change = format!("extKeyUsage {:?}", is_there.then_some(value));
                self.set(
                    place,
                    PURPOSE,
                    is_there.then(|| (critical, purposes(value))),
                );
                change
            }
        };
        format!("{change} critical {critical}")
    }

    /// Names, constraints, identifiers, policies, points, and unknown ones.
    fn change_extensions(&mut self, place: usize, keys: &[Key]) -> String {
        let critical = self.random.one_in(3);
        let signer = keys[self.path[place].signer].id();
        let change = match self.random.weighted(&[24, 30, 12, 8, 8, 10, 8]) {
            0 => {
                let value = names(self.random);
                self.set(place, NAMES, Some((critical, value)));
                "subjectAltName".to_owned()
            }
            1 => {
                let (value, change) = constraints(self.random);
                self.set(place, CONSTRAINTS, Some((!critical, value)));
                change
            }
            2 => self.change_authority_key(place, critical, &signer),
            3 => {
                let value = self.random.one_in(2).then(|| (critical, octets(&[9, 9])));
                let change = format!("subjectKeyIdentifier {:?}", value.is_some());
                self.set(place, SUBJECT_KEY, value);
                change
            }
            4 => {
                let policy = sequence(&[sequence(&[oid(&[1, 2, 3, 4])])]);
                let require = sequence(&[tlv(0x80, &[self.random.below(3) as u8])]);
                let (oid, value) = match self.random.below(4) {
                    0 | 1 => (POLICIES, policy),
                    2 => (POLICY_CONSTRAINTS, require),
                    _ => (ANY_POLICY, tlv(2, &[0])),
                };
                self.set(place, oid, Some((critical, value)));
                format!("policies {}", oid[3])
            }
            5 => {
                let own = &mut self.path[place].extensions;
                let copy = own[self.random.below(own.len())].clone();
                let change = format!("twice {:?}", copy.oid);
                own.push(copy);
                return change;
            }
            _ => {
                let (oid, value) = match self.random.below(3) {
                    0 => (UNKNOWN, vec![5, 0]),
                    1 => (POINTS, points(URIS[self.random.below(2)])),
                    _ => (&[1, 3, 6, 1, 5, 5, 7, 1, 1][..], vec![1, 2]),
                };
                self.set(place, oid, Some((critical, value)));
                format!("extension {oid:?}")
            }
        };
        format!("{change} critical {critical}")
    }

    fn change_authority_key(&mut self, place: usize, critical: bool, signer: &[u8]) -> String {
        let (change, value) = match self.random.below(6) {
            0 => ("none", None),
            1 => ("another key", Some(authority_key(&[1, 2, 3]))),
            2 => ("serial alone", Some(sequence(&[tlv(0x82, &[7])]))),
            3 => ("empty", Some(sequence(&[]))),
            4 => ("unreadable", Some(vec![1, 2, 3])),
            _ => {
                let issuer = tlv(0xa1, &tlv(0xa4, &name("another")));
                let parts = [tlv(0x80, signer), issuer, tlv(0x82, &[9])];
                ("another issuer and serial", Some(sequence(&parts)))
            }
        };
        let critical = critical && self.random.one_in(4);
        self.set(place, AUTHORITY_KEY, value.map(|value| (critical, value)));
        format!("authorityKeyIdentifier {change}")
    }
}
