//! CRLs of a PKI: good ones, and changed ones.

use crate::der::{Bytes, Crl, Extension, Key, name, sequence, tlv};
use crate::extensions::{
    AUTHORITY_KEY, CERTIFICATE_ISSUER, DELTA, ISSUING_POINT, NUMBER, REASON, UNKNOWN, URIS,
    authority_key, issuing_point,
};
use crate::generate::{DAY, Pki};
use crate::random::Random;

impl Pki<'_> {
    /// A valid CRL.
    pub fn crl(&mut self, issuer: usize, keys: &[Key]) -> Crl {
        let issuer = &self.path[issuer];
        let id = keys[issuer.key].id();
        Crl {
            issuer: issuer.subject.clone(),
            signer: issuer.key,
            from: self.now - 2 * DAY,
            to: Some(self.now + 5 * DAY),
            revoked: vec![(vec![0x55, 0x66, self.random.below(256) as u8], vec![])],
            extensions: vec![
                Extension::new(AUTHORITY_KEY, false, authority_key(&id)),
                Extension::new(NUMBER, false, tlv(2, &[7])),
            ],
        }
    }

    /// Revokes a certificate, or changes, removes, doubles or breaks a CRL.
    pub fn change_crls(&mut self, keys: &[Key]) {
        let (now, at) = (self.now, self.random.below(self.crls.len()));
        let other_key = self.random.below(keys.len());
        let issued = self
            .path
            .iter()
            .find(|below| below.issuer == self.crls[at].issuer);
        let serial = issued.map_or(vec![1], |below| below.serial.clone());
        let kind = self.random.below(18);
        let crl = &mut self.crls[at];
        let change = match kind {
            0..3 => {
                let reason = self.random.below(11) as u8;
                let reason = Extension::new(REASON, false, tlv(10, &[reason]));
                let with = self.random.one_in(2).then_some(reason);
                crl.revoked.push((serial, with.into_iter().collect()));
                "revoked"
            }
            3 => {
                crl.to = Some(now - DAY);
                "expired"
            }
            4 => {
                crl.from = now + DAY;
                "from the future"
            }
            5 => {
                crl.to = Some(crl.from - DAY);
                "ends before it begins"
            }
            6 => {
                crl.signer = other_key;
                "signed by another key"
            }
            7 => {
                self.crls.remove(at);
                "missing"
            }
            8 | 9 => {
                // Splits a CRL in two. The second lists the certificate, or is signed by another
                // key.
                let mut other = crl.clone();
                let place =
                    |uri| Extension::new(ISSUING_POINT, true, issuing_point(Some(uri), &[]));
                if kind == 8 {
                    crl.extensions.push(place(URIS[0]));
                    other.extensions.push(place(URIS[1]));
                }
                match self.random.below(3) {
                    0 => other.revoked.push((serial, vec![])),
                    1 => other.signer = other_key,
                    _ => other.to = Some(now - DAY),
                }
                let front = self.random.one_in(2);
                self.crls.insert(if front { 0 } else { at + 1 }, other);
                "in two"
            }
            _ => break_crl(crl, kind, serial, self.random),
        };
        self.changes.push(format!("crl: {change}"));
    }
}

/// Breaks the encoding of a CRL.
fn break_crl(crl: &mut Crl, kind: usize, serial: Bytes, random: &mut Random) -> &'static str {
    match kind {
        10 => {
            let point = match random.below(5) {
                0 => issuing_point(None, &[]),
                1 => issuing_point(Some(URIS[0]), &[tlv(0x81, &[0xff])]),
                2 => issuing_point(Some(URIS[0]), &[tlv(0x82, &[0xff])]),
                3 => issuing_point(Some(URIS[0]), &[tlv(0x84, &[0xff])]),
                _ => issuing_point(Some(URIS[0]), &[tlv(0x83, &[1, 2])]),
            };
            crl.extensions
                .push(Extension::new(ISSUING_POINT, true, point));
            "issuing distribution point"
        }
        11 => {
            crl.extensions
                .push(Extension::new(DELTA, true, tlv(2, &[3])));
            "delta"
        }
        12 => {
            crl.extensions.retain(|extension| extension.oid != NUMBER);
            "no number"
        }
        13 => {
            let copy = crl.extensions[0].clone();
            crl.extensions.push(copy);
            "an extension twice"
        }
        14 => {
            crl.extensions
                .push(Extension::new(UNKNOWN, true, vec![5, 0]));
            "an unknown critical extension"
        }
        15 => {
            let issuer = sequence(&[tlv(0xa4, &name("another"))]);
            let with = Extension::new(CERTIFICATE_ISSUER, true, issuer);
            crl.revoked.push((serial, vec![with]));
            "an indirect entry"
        }
        16 => {
            crl.revoked.push(([&[0], &serial[..]].concat(), vec![]));
            "a padded entry"
        }
        _ => {
            crl.to = None;
            "no end"
        }
    }
}
