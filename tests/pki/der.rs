//! Writes valid and invalid DER, which no library would write.

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

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
        true => tlv(0x17, format!("{}Z", &digits[2..]).as_bytes()),
        false => tlv(0x18, format!("{digits}Z").as_bytes()),
    }
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

/// A key with the identifier of the algorithm that it signs with.
pub struct Key {
    pub pair: KeyPair,
    algorithm: Bytes,
}

impl Key {
    pub fn generate(kind: usize) -> Self {
        let (algorithm, identifier): (_, Bytes) = match kind {
            0..4 => (
                &rcgen::PKCS_ECDSA_P256_SHA256,
                sequence(&[oid(&[1, 2, 840, 10045, 4, 3, 2])]),
            ),
            4 | 5 => (&rcgen::PKCS_ED25519, sequence(&[oid(&[1, 3, 101, 112])])),
            6 => (
                &rcgen::PKCS_ECDSA_P384_SHA384,
                sequence(&[oid(&[1, 2, 840, 10045, 4, 3, 3])]),
            ),
            _ => (
                &rcgen::PKCS_RSA_SHA256,
                sequence(&[oid(&[1, 2, 840, 113_549, 1, 1, 11]), tlv(5, &[])]),
            ),
        };
        Self {
            pair: KeyPair::generate_for(algorithm).unwrap(),
            algorithm: identifier,
        }
    }

    /// Its key identifier.
    pub fn id(&self) -> Bytes {
        let key = self.pair.der_bytes();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key);
        hash.as_ref()[..20].to_vec()
    }

    fn sign(&self, signed: Bytes) -> Bytes {
        let signature = self.pair.sign(&signed).unwrap();
        sequence(&[signed, self.algorithm.clone(), bits(&signature)])
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
    /// The indexes of its key and of the key that signs it.
    pub key: usize,
    pub signer: usize,
    pub extensions: Vec<Extension>,
    /// Whether the inner and the outer algorithm differ.
    pub other_algorithm: bool,
}

impl Certificate {
    pub fn der(&self, keys: &[Key]) -> Bytes {
        let signer = &keys[self.signer];
        let version = match self.version {
            1 => vec![],
            version => tlv(0xa0, &tlv(2, &[version - 1])),
        };
        let inside = match self.other_algorithm {
            true => sequence(&[oid(&[1, 2, 840, 10045, 4, 3, 4])]),
            false => signer.algorithm.clone(),
        };
        let extensions = match self.version {
            1 => vec![],
            _ => extensions(0xa3, &self.extensions),
        };
        signer.sign(sequence(&[
            version,
            tlv(2, &self.serial),
            inside,
            name(&self.issuer),
            sequence(&[time(self.from), time(self.to)]),
            name(&self.subject),
            keys[self.key].pair.subject_public_key_info(),
            extensions,
        ]))
    }
}

/// The contents of a CRL.
#[derive(Clone, Debug)]
pub struct Crl {
    pub issuer: String,
    pub signer: usize,
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
        signer.sign(sequence(&[
            tlv(2, &[1]),
            signer.algorithm.clone(),
            name(&self.issuer),
            time(self.from),
            self.to.map(time).unwrap_or_default(),
            entries,
            extensions(0xa0, &self.extensions),
        ]))
    }
}
