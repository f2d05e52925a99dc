//! Changes that the generator learned later. They draw from a stream of their own.

use crate::der::Certificate;
use crate::extensions::{CONSTRAINTS, USAGE, usage};
use crate::generate::{DAY, Pki};
use crate::keys::{Key, SIGNING_KEYS};
use crate::names::later_constraints;
use crate::structure::{rekey, sign};

impl Pki<'_> {
    /// Adds some of these changes to the others.
    pub fn change_later(&mut self, keys: &[Key]) {
        if self.more.one_in(12) {
            self.constrain_names();
        }
        if !self.crls.is_empty() && self.more.one_in(12) {
            self.take_crl_sign();
        }
        if self.more.one_in(40) {
            self.expire_a_root(keys);
        }
    }

    /// A CA constrains e-mail addresses or directory names.
    fn constrain_names(&mut self) {
        let place = 1 + self.more.below(self.path.len() - 1);
        let (value, change) = later_constraints(self.more);
        self.set(place, CONSTRAINTS, Some((true, value)));
        let change = format!("{}: {change}", self.role(place));
        self.changes.push(change);
    }

    /// A CA that may not sign CRLs has one.
    fn take_crl_sign(&mut self) {
        let place = 1 + self.more.below(self.path.len() - 1);
        self.set(place, USAGE, Some((true, usage(&[5]))));
        let change = format!(
            "{}: keyUsage Some([5]), although it has a CRL",
            self.role(place)
        );
        self.changes.push(change);
    }

    /// Of two client CAs, one has expired: the one that issued something, or the other.
    fn expire_a_root(&mut self, keys: &[Key]) {
        let expired = self.now - DAY;
        let root = self.path.len() - 1;
        let mut other = Certificate {
            subject: "another ca".to_owned(),
            issuer: "another ca".to_owned(),
            serial: vec![9, 9, 9],
            ..self.path[root].clone()
        };
        let used: Vec<usize> = self.path.iter().map(|own| own.key).collect();
        let key = (0..SIGNING_KEYS).find(|key| !used.contains(key)).unwrap();
        rekey(&mut other, key, keys);
        sign(&mut other, key, keys);
        let own = self.more.one_in(2);
        match own {
            true => self.path[root].to = expired,
            false => other.to = expired,
        }
        self.more_roots.push(other);
        let change = format!("structure: an expired root and a valid one, its own {own}");
        self.changes.push(change);
    }
}
