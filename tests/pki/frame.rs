//! Changes of a certificate outside its extensions.

use crate::der::octets;
use crate::der::{generalized_time, time, utc_time};
use crate::extensions::{SUBJECT_KEY, UNKNOWN};
use crate::generate::{DAY, Pki};
use crate::keys::{Key, SIGNING_KEYS, Signing};

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * DAY;

impl Pki<'_> {
    /// Version, serial number, names, validity, keys, signature.
    pub fn change_frame(&mut self, place: usize, keys: &[Key]) -> String {
        match self.random.weighted(&[5, 4, 3, 3, 3]) {
            0 => self.change_serial(place).to_owned(),
            1 => self.change_dates(place),
            2 => self.change_names(place).to_owned(),
            3 => self.change_signature(place, keys),
            _ => self.change_key(place, keys),
        }
    }

    fn change_serial(&mut self, place: usize) -> &'static str {
        let own = &mut self.path[place];
        let (serial, change) = match self.random.below(6) {
            0 => (vec![0], "serial number zero"),
            1 => (vec![0x80, 1], "negative serial number"),
            2 => (vec![0x11; 21], "serial number of 21 octets"),
            3 => (vec![0x11; 20], "serial number of 20 octets"),
            4 => ([&[0], &own.serial[..]].concat(), "padded serial number"),
            _ => {
                own.version = 1;
                return "version 1";
            }
        };
        own.serial = serial;
        change
    }

    fn change_dates(&mut self, place: usize) -> String {
        let kind = self.random.below(16);
        let change = match kind {
            0..8 => self.change_period(place, kind),
            _ => self.change_encoding(place, kind),
        };
        format!("dates, {change}")
    }

    /// No date is within an hour: judging thousands of cases takes minutes.
    fn change_period(&mut self, place: usize, kind: usize) -> &'static str {
        let (now, own) = (self.now, &mut self.path[place]);
        let (from, to, change) = match kind {
            0 | 1 => (own.from, now - DAY, "expired"),
            2 => (own.from, now - HOUR, "expired an hour ago"),
            3 => (own.from, now + 4 * HOUR, "valid for four hours"),
            4 => (now + DAY, own.to, "not yet valid"),
            5 => (now + 4 * HOUR, own.to, "not yet valid for four hours"),
            6 => (now - HOUR, own.to, "valid for an hour"),
            _ => (own.from, now - 20 * DAY, "ends before it begins"),
        };
        (own.from, own.to) = (from, to);
        change
    }

    fn change_encoding(&mut self, place: usize, kind: usize) -> &'static str {
        let (now, own) = (self.now, &mut self.path[place]);
        let later = time(now + 30 * DAY);
        let later = String::from_utf8(later[2..].to_vec()).unwrap();
        let (to, change) = match kind {
            8 => (generalized_time("99991231235959Z"), "valid for ever"),
            9 => (
                utc_time("491231235959Z"),
                "valid until the last second of UTCTime",
            ),
            10 => (generalized_time("20500101000000Z"), "valid until 2050"),
            11 => (
                generalized_time(&format!("20{later}")),
                "the end as GeneralizedTime before 2050",
            ),
            12 => {
                let from = self.random.pick(&["500101000000Z", "691231235959Z"]);
                own.odd_from = Some(utc_time(from));
                return "valid since before 1970";
            }
            13 => {
                own.from = now - 20 * YEAR;
                own.to = now + 100 * YEAR;
                return "valid for 120 years";
            }
            14 => (
                utc_time(&format!("{}Z", &later[..10])),
                "the end without seconds",
            ),
            _ => (
                utc_time(&later.replace('Z', "+0000")),
                "the end with an offset",
            ),
        };
        own.odd_to = Some(to);
        change
    }

    fn change_names(&mut self, place: usize) -> &'static str {
        match self.random.below(3) {
            0 => {
                self.path[place].subject.clear();
                if place > 0 {
                    self.path[place - 1].issuer.clear();
                }
                "no subject"
            }
            1 => {
                self.path[place].issuer.push('x');
                "names another issuer"
            }
            _ => self.issue_itself(place),
        }
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

    fn change_signature(&mut self, place: usize, keys: &[Key]) -> String {
        let own = &mut self.path[place];
        if self.random.one_in(4) {
            own.signer = self.random.below(SIGNING_KEYS);
            return "signed by another key".to_owned();
        }
        own.signing = Signing::random(self.random, &keys[own.signer]);
        format!("signing {} {:?}", keys[own.signer].kind, own.signing)
    }

    /// Gives the leaf a key that few CAs certify. A CA keeps its own.
    fn change_key(&mut self, place: usize, keys: &[Key]) -> String {
        if place > 0 {
            let unknown = (self.random.one_in(2), vec![5, 0]);
            let change = format!("unknown extension, critical {}", unknown.0);
            self.set(place, UNKNOWN, Some(unknown));
            return change;
        }
        let key = SIGNING_KEYS + self.random.below(keys.len() - SIGNING_KEYS);
        self.path[0].key = key;
        self.set(0, SUBJECT_KEY, Some((false, octets(&keys[key].id()))));
        format!("key {}", keys[key].kind)
    }
}
