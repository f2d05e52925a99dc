//! CRLs of a PKI: good ones, and changed ones.

use crate::der::{Bytes, Certificate, Crl, Extension, name, sequence, tlv};
use crate::extensions::{
    AUTHORITY_KEY, CERTIFICATE_ISSUER, DELTA, ISSUING_POINT, NUMBER, POINTS, REASON, UNKNOWN, URIS,
    authority_key, issuing_point, points,
};
use crate::generate::{DAY, Pki};
use crate::keys::{Key, SIGNING_KEYS, Signing};
use crate::random::Random;

impl Pki<'_> {
    /// A valid CRL of a CA of the path.
    pub fn crl(&mut self, issuer: usize, keys: &[Key]) -> Crl {
        let issuer = self.path[issuer].clone();
        self.crl_of(&issuer, keys)
    }

    /// A valid CRL.
    pub fn crl_of(&mut self, issuer: &Certificate, keys: &[Key]) -> Crl {
        let id = keys[issuer.key].id();
        Crl {
            version: 2,
            issuer: issuer.subject.clone(),
            signer: issuer.key,
            signing: Signing::Usual,
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
        let other_key = self.random.below(SIGNING_KEYS);
        let issued = self
            .path
            .iter()
            .find(|below| below.issuer == self.crls[at].issuer);
        let serial = issued.map_or(vec![1], |below| below.serial.clone());
        let kind = self.random.below(25);
        let crl = &mut self.crls[at];
        let change = match kind {
            0..3 => {
                let reason = self.random.below(11) as u8;
                let reason = self.random.one_in(2).then_some(reason);
                let extension =
                    reason.map(|reason| Extension::new(REASON, false, tlv(10, &[reason])));
                crl.revoked.push((serial, extension.into_iter().collect()));
                self.changes.push(format!("crl: revoked {reason:?}"));
                return;
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
            8 | 9 | 18 | 20 | 22 => self.double_crl(at, kind, serial, other_key),
            19 => {
                crl.issuer = "another issuer".to_owned();
                "of another issuer"
            }
            21 => {
                crl.signing = Signing::random(self.random, &keys[crl.signer]);
                let change = format!("crl: signing {} {:?}", keys[crl.signer].kind, crl.signing);
                self.changes.push(change);
                return;
            }
            10 => {
                let change = self.limit_crl(at);
                self.changes.push(change);
                return;
            }
            _ => break_crl(crl, kind, serial, self.random),
        };
        self.changes.push(format!("crl: {change}"));
    }

    /// Makes two CRLs of one. In most cases, the certificates name one of two parts. The second CRL
    /// lists the certificate, is signed by another key or has expired.
    fn split_crl(
        &mut self,
        at: usize,
        in_parts: bool,
        serial: Bytes,
        other_key: usize,
    ) -> &'static str {
        let mut other = self.crls[at].clone();
        if in_parts {
            self.crls[at].limit(true, issuing_point(Some(URIS[0]), &[]));
            other.limit(true, issuing_point(Some(URIS[1]), &[]));
        }
        match self.random.below(3) {
            0 => other.revoked.push((serial, vec![])),
            1 => other.signer = other_key,
            _ => other.to = Some(self.now - DAY),
        }
        let front = self.random.one_in(2);
        let issuer = other.issuer.clone();
        self.crls.insert(if front { 0 } else { at + 1 }, other);
        match self.more.below(8) {
            _ if !in_parts => "in two, both complete",
            0 | 1 => {
                self.name_point(&issuer, None);
                "in two, of which the certificate names none"
            }
            2..5 => {
                self.name_point(&issuer, Some(URIS[0]));
                "in two, of which the certificate names the first"
            }
            _ => {
                self.name_point(&issuer, Some(URIS[1]));
                "in two, of which the certificate names the second"
            }
        }
    }

    /// Gives each certificate of an issuer a distribution point, or takes it away.
    fn name_point(&mut self, issuer: &str, uri: Option<&str>) {
        for place in 0..self.path.len() {
            if self.path[place].issuer == issuer {
                self.set(place, POINTS, uri.map(|uri| (false, points(uri))));
            }
        }
    }

    /// Lets each certificate name a distribution point in some PKIs, and some CRLs too.
    pub fn name_points(&mut self) {
        if self.crls.is_empty() || !self.more.one_in(3) {
            return;
        }
        // The root too: OpenSSL asks for its CRL.
        for place in 0..self.path.len() {
            self.set(place, POINTS, Some((false, points(URIS[0]))));
        }
        for crl in &mut self.crls {
            if self.more.one_in(2) {
                crl.limit(true, issuing_point(Some(URIS[0]), &[]));
            }
        }
    }

    /// Limits a CRL to a part of the certificates. The change says to which, and whose CRL it is.
    fn limit_crl(&mut self, at: usize) -> String {
        let crl = &mut self.crls[at];
        let (part, more) = match self.random.below(6) {
            0 => ("no URI", vec![]),
            1 => ("leaves", vec![tlv(0x81, &[0xff])]),
            2 => ("CAs", vec![tlv(0x82, &[0xff])]),
            3 => ("indirect", vec![tlv(0x84, &[0xff])]),
            4 => ("attributes", vec![tlv(0x85, &[0xff])]),
            _ => ("reasons", vec![tlv(0x83, &[1, 2])]),
        };
        let uri = (part != "no URI").then_some(URIS[0]);
        let point = issuing_point(uri, &more);
        crl.limit(!self.random.one_in(4), point);
        let whose = match crl.issuer == self.path[0].issuer {
            true => "the leaf",
            false => "a CA",
        };
        format!("crl: issuing distribution point: {part}, for {whose}")
    }

    /// Adds another CRL of the same issuer.
    fn double_crl(
        &mut self,
        at: usize,
        kind: usize,
        serial: Bytes,
        other_key: usize,
    ) -> &'static str {
        let now = self.now;
        let crl = &mut self.crls[at];
        match kind {
            8 | 9 => self.split_crl(at, kind == 8, serial, other_key),
            18 => {
                // The older of two, by the same key, lists the certificate.
                let mut older = crl.clone();
                older.from = now - 9 * DAY;
                older.to = Some(now + self.random.pick(&[-1, 1]) * DAY);
                older.revoked.push((serial, vec![]));
                self.crls.push(older);
                "an older one lists the certificate"
            }
            20 => {
                let mut delta = crl.clone();
                delta
                    .extensions
                    .push(Extension::new(DELTA, true, tlv(2, &[7])));
                if self.random.one_in(2) {
                    delta.revoked.push((serial, vec![]));
                }
                self.crls.push(delta);
                "a delta and the complete one"
            }
            _ => {
                let mut expired = crl.clone();
                expired.from = now - 9 * DAY;
                expired.to = Some(now - DAY);
                let front = self.random.one_in(2);
                self.crls.insert(if front { 0 } else { at + 1 }, expired);
                "an expired one and the current one"
            }
        }
    }
}

impl Crl {
    /// Sets the issuing distribution point.
    fn limit(&mut self, critical: bool, point: Bytes) {
        self.extensions
            .retain(|extension| extension.oid != ISSUING_POINT);
        self.extensions
            .push(Extension::new(ISSUING_POINT, critical, point));
    }
}

/// Breaks the encoding of a CRL.
fn break_crl(crl: &mut Crl, kind: usize, serial: Bytes, random: &mut Random) -> &'static str {
    match kind {
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
        23 => {
            crl.version = 1;
            "version 1"
        }
        24 => {
            let listed = if random.one_in(2) { serial } else { vec![0x77] };
            let unknown = Extension::new(UNKNOWN, true, vec![5, 0]);
            crl.revoked.push((listed, vec![unknown]));
            "an entry with an unknown critical extension"
        }
        _ => {
            crl.to = None;
            "no end"
        }
    }
}
