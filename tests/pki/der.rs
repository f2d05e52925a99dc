//! Writes valid and invalid DER, which no library would write.

use crate::keys::{Key, Signing};

pub type Bytes = Vec<u8>;

pub fn tlv(tag: u8, content: &[u8]) -> Bytes {
    let length = content.len();
    let mut der = vec![tag];
    match length {
        0..0x80 => der.push(length as u8),
        0x80..0x100 => der.extend([0x81, length as u8]),
        _ => der.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    der.extend(content);
    der
}

pub fn sequence(parts: &[Bytes]) -> Bytes {
    tlv(0x30, &parts.concat())
}

pub fn oid(numbers: &[u64]) -> Bytes {
    let mut content = vec![(numbers[0] * 40 + numbers[1]) as u8];
    for number in &numbers[2..] {
        let mut digits = vec![(number & 0x7f) as u8];
        let mut rest = number >> 7;
        while rest > 0 {
            digits.insert(0, (rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        content.extend(digits);
    }
    tlv(6, &content)
}

pub fn boolean(value: bool) -> Bytes {
    tlv(1, &[if value { 0xff } else { 0 }])
}

pub fn integer(value: u8) -> Bytes {
    tlv(2, &[value])
}

pub fn octets(content: &[u8]) -> Bytes {
    tlv(4, content)
}

pub fn bits(content: &[u8]) -> Bytes {
    tlv(3, &[&[0], content].concat())
}

/// A distinguished name with one common name.
pub fn name(common_name: &str) -> Bytes {
    if common_name.is_empty() {
        return sequence(&[]);
    }
    let attribute = sequence(&[oid(&[2, 5, 4, 3]), tlv(0x0c, common_name.as_bytes())]);
    sequence(&[tlv(0x31, &attribute)])
}

/// A time in seconds since the Unix epoch, as GeneralizedTime from 2050 on.
pub fn time(seconds: i64) -> Bytes {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds as u64);
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    match &digits[..4] < "2050" {
        true => utc_time(&format!("{}Z", &digits[2..])),
        false => generalized_time(&format!("{digits}Z")),
    }
}

pub fn utc_time(text: &str) -> Bytes {
    tlv(0x17, text.as_bytes())
}

pub fn generalized_time(text: &str) -> Bytes {
    tlv(0x18, text.as_bytes())
}

#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    pub oid: &'static [u64],
    pub critical: bool,
    pub value: Bytes,
}

impl Extension {
    pub fn new(oid: &'static [u64], critical: bool, value: Bytes) -> Self {
        Self {
            oid,
            critical,
            value,
        }
    }

    fn der(&self) -> Bytes {
        let critical = if self.critical { boolean(true) } else { vec![] };
        sequence(&[oid(self.oid), critical, octets(&self.value)])
    }
}

fn extensions(tag: u8, all: &[Extension]) -> Bytes {
    match all {
        [] => vec![],
        all => {
            let each: Vec<Bytes> = all.iter().map(Extension::der).collect();
            tlv(tag, &sequence(&each))
        }
    }
}

/// The contents of a certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub version: u8,
    pub serial: Bytes,
    pub issuer: String,
    pub subject: String,
    pub from: i64,
    pub to: i64,
    /// Dates in an unusual encoding, in place of `from` and `to`.
    pub odd_from: Option<Bytes>,
    pub odd_to: Option<Bytes>,
    /// The indexes of its key and of the key that signs it.
    pub key: usize,
    pub signer: usize,
    pub signing: Signing,
    pub extensions: Vec<Extension>,
}

impl Certificate {
    pub fn der(&self, keys: &[Key]) -> Bytes {
        let signer = &keys[self.signer];
        let version = match self.version {
            1 => vec![],
            version => tlv(0xa0, &tlv(2, &[version - 1])),
        };
        let extensions = match self.version {
            1 => vec![],
            _ => extensions(0xa3, &self.extensions),
        };
        let from = self.odd_from.clone().unwrap_or_else(|| time(self.from));
        let to = self.odd_to.clone().unwrap_or_else(|| time(self.to));
        signer.sign(self.signing, |algorithm| {
            sequence(&[
                version,
                tlv(2, &self.serial),
                algorithm,
                name(&self.issuer),
                sequence(&[from, to]),
                name(&self.subject),
                keys[self.key].public().to_vec(),
                extensions,
            ])
        })
    }
}

/// The contents of a CRL.
#[derive(Clone, Debug)]
pub struct Crl {
    /// 2, or 1 without a version and extensions.
    pub version: u8,
    pub issuer: String,
    pub signer: usize,
    pub signing: Signing,
    pub from: i64,
    pub to: Option<i64>,
    /// Serial numbers, each with extensions.
    pub revoked: Vec<(Bytes, Vec<Extension>)>,
    pub extensions: Vec<Extension>,
}

impl Crl {
    pub fn der(&self, keys: &[Key]) -> Bytes {
        let signer = &keys[self.signer];
        let entries: Vec<Bytes> = self
            .revoked
            .iter()
            .map(|(serial, all)| {
                let extensions: Vec<Bytes> = all.iter().map(Extension::der).collect();
                let extensions = match all.is_empty() {
                    true => vec![],
                    false => sequence(&extensions),
                };
                sequence(&[tlv(2, serial), time(self.from), extensions])
            })
            .collect();
        let entries = match entries.is_empty() {
            true => vec![],
            false => sequence(&entries),
        };
        let (version, extensions) = match self.version {
            1 => (vec![], vec![]),
            version => (tlv(2, &[version - 1]), extensions(0xa0, &self.extensions)),
        };
        signer.sign(self.signing, |algorithm| {
            sequence(&[
                version,
                algorithm,
                name(&self.issuer),
                time(self.from),
                self.to.map(time).unwrap_or_default(),
                entries,
                extensions,
            ])
        })
    }
}
