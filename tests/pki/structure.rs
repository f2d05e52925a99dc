//! Cross-signed, renewed, expired and re-keyed CAs, and unusual client CAs.

use crate::der::{Certificate, octets};
use crate::extensions::{AUTHORITY_KEY, BASIC, SUBJECT_KEY, authority_key, basic};
use crate::generate::{DAY, Pki};
use crate::keys::{Key, SIGNING_KEYS};

impl Pki<'_> {
    /// Adds or replaces certificates of CAs.
    pub fn change_structure(&mut self, keys: &[Key]) {
        // Only once: the changes would contradict one another.
        if !self.more_roots.is_empty() || !self.more_sent.is_empty() || !self.trusts_root {
            return;
        }
        let change = match self.random.weighted(&[10, 6, 6, 6, 4, 3, 1, 4]) {
            0 => self.cross_sign(keys),
            1 => self.renew_root(),
            2 => self.rekey_root(keys),
            3 => self.renew_intermediate(),
            4 => self.rekey_intermediate(keys),
            5 => self.trust_intermediate(),
            6 => {
                let leaf = self.path[0].clone();
                self.trusts_root = self.random.one_in(2);
                self.more_roots.push(leaf);
                "the leaf is a client CA".to_owned()
            }
            _ => {
                let critical = self.random.one_in(2);
                let other = self.path.last().unwrap().another_ca(critical);
                self.more_roots.push(other);
                format!("another CA with an unknown extension, critical {critical}")
            }
        };
        self.changes.push(format!("structure: {change}"));
    }

    fn unused_key(&mut self) -> usize {
        loop {
            let key = self.random.below(SIGNING_KEYS);
            if self.path.iter().all(|own| own.key != key) {
                return key;
            }
        }
    }

    /// The root gets a second certificate by another root, as a new CA does at first.
    fn cross_sign(&mut self, keys: &[Key]) -> String {
        let key = self.unused_key();
        let root = self.path.last().unwrap().clone();
        let mut other = Certificate {
            subject: "other root".to_owned(),
            issuer: "other root".to_owned(),
            ..root.clone()
        };
        rekey(&mut other, key, keys);
        sign(&mut other, key, keys);
        let mut cross = root;
        cross.issuer = "other root".to_owned();
        cross.serial = vec![3, 3, 3];
        sign(&mut cross, key, keys);
        let fault = match self.random.below(8) {
            0 => {
                cross.to = self.now - DAY;
                "expired"
            }
            1 => {
                other.to = self.now - DAY;
                "by an expired root"
            }
            2 => {
                set_basic(&mut other, basic(true, Some(&[self.random.below(3) as u8])));
                "by a root with a path length"
            }
            3 => {
                set_basic(&mut cross, basic(true, Some(&[self.random.below(2) as u8])));
                "with a path length"
            }
            4 => {
                set_basic(&mut cross, basic(false, None));
                "as no CA"
            }
            _ => "valid",
        };
        self.trusts_root = self.random.one_in(3);
        if !self.crls.is_empty() && !self.random.one_in(5) {
            let crl = self.crl_of(&other, keys);
            self.crls.push(crl);
        }
        self.more_sent.push(cross);
        self.more_roots.push(other);
        format!("cross-signed, {fault}, both {}", self.trusts_root)
    }

    /// The root has two certificates with one key, of which one may have expired.
    fn renew_root(&mut self) -> String {
        let (now, random) = (self.now, &mut *self.random);
        let root = self.path.last_mut().unwrap();
        let mut renewed = root.clone();
        renewed.serial = vec![4, 4, 4];
        let expired = random.one_in(2);
        if expired {
            root.to = now - DAY;
        }
        let future = !expired && random.one_in(2);
        if future {
            renewed.from = now + DAY;
        }
        self.more_roots.push(renewed);
        format!("renewed root, expired {expired}, future {future}")
    }

    /// The root has two keys. The old one is a client CA, and the scraper may send a link to the new.
    fn rekey_root(&mut self, keys: &[Key]) -> String {
        let key = self.unused_key();
        let new = self.path.last().unwrap().clone();
        let mut old = new.clone();
        old.serial = vec![5, 5, 5];
        rekey(&mut old, key, keys);
        sign(&mut old, key, keys);
        let link = self.random.one_in(2);
        if link {
            let mut link = new;
            link.serial = vec![6, 6, 6];
            sign(&mut link, key, keys);
            self.more_sent.push(link);
            self.trusts_root = self.random.one_in(2);
        }
        if !self.crls.is_empty() && !self.random.one_in(4) {
            let crl = self.crl_of(&old, keys);
            self.crls.push(crl);
        }
        self.more_roots.push(old);
        format!("re-keyed root, link {link}, both {}", self.trusts_root)
    }

    /// The scraper sends two certificates of an intermediate with one key.
    fn renew_intermediate(&mut self) -> String {
        if self.path.len() < 3 {
            return self.renew_root();
        }
        let mut other = self.path[1].clone();
        other.serial = vec![7, 7, 7];
        let expired = self.random.one_in(2);
        if expired {
            other.to = self.now - DAY;
        }
        let narrow = self.random.one_in(4);
        if narrow {
            set_basic(&mut other, basic(false, None));
        }
        self.more_sent.push(other);
        format!("renewed intermediate, expired {expired}, no CA {narrow}")
    }

    /// The scraper sends two certificates of an intermediate with two keys.
    fn rekey_intermediate(&mut self, keys: &[Key]) -> String {
        if self.path.len() < 3 {
            return self.rekey_root(keys);
        }
        let key = self.unused_key();
        let mut other = self.path[1].clone();
        other.serial = vec![8, 8, 8];
        rekey(&mut other, key, keys);
        if !self.crls.is_empty() && self.random.one_in(2) {
            let crl = self.crl_of(&other, keys);
            self.crls.push(crl);
        }
        self.more_sent.push(other);
        "re-keyed intermediate".to_owned()
    }

    /// An intermediate is a client CA. Its issuer may be none.
    fn trust_intermediate(&mut self) -> String {
        if self.path.len() < 3 {
            return self.renew_root();
        }
        self.trusts_root = self.random.one_in(2);
        let intermediate = self.path[self.path.len() - 2].clone();
        self.more_roots.push(intermediate);
        format!("trusted intermediate, both {}", self.trusts_root)
    }
}

fn set_basic(certificate: &mut Certificate, value: Vec<u8>) {
    let mut extensions = certificate.extensions.iter_mut();
    if let Some(basic) = extensions.find(|extension| extension.oid == BASIC) {
        basic.value = value;
    }
}

pub fn rekey(certificate: &mut Certificate, key: usize, keys: &[Key]) {
    certificate.key = key;
    for extension in &mut certificate.extensions {
        if extension.oid == SUBJECT_KEY {
            extension.value = octets(&keys[key].id());
        }
    }
}

pub fn sign(certificate: &mut Certificate, signer: usize, keys: &[Key]) {
    certificate.signer = signer;
    for extension in &mut certificate.extensions {
        if extension.oid == AUTHORITY_KEY {
            extension.value = authority_key(&keys[signer].id());
        }
    }
}
