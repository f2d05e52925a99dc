//! Changes of the extensions of a certificate.

use crate::der::{name, octets, oid, sequence, tlv};
use crate::extensions::*;
use crate::generate::Pki;
use crate::keys::Key;
use crate::names::{constraints, names};

impl Pki<'_> {
    /// Changes basicConstraints, keyUsage or extKeyUsage.
    pub fn change_rights(&mut self, place: usize) -> String {
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
    pub fn change_extensions(&mut self, place: usize, keys: &[Key]) -> String {
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
                let mapping = sequence(&[oid(&[1, 2, 3, 4]), oid(&[1, 2, 3, 5])]);
                let require = sequence(&[tlv(0x80, &[self.random.below(3) as u8])]);
                let (oid, value) = match self.random.below(5) {
                    0 | 1 => (POLICIES, policy),
                    2 => (POLICY_CONSTRAINTS, require),
                    3 => (POLICY_MAPPINGS, sequence(&[mapping])),
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
