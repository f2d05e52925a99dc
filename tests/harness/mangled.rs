//! Files of certificates and keys, broken in many ways.

mod mangles;

use std::sync::LazyLock;

use data_encoding::BASE64;

use mangles::MANGLES;

/// Pseudorandom numbers, the same in each run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below this one, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX generator, whose upper bits have the longer periods.
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// A private key in each of the forms that it is stored in; made once, for all tests.
pub static KEYS: [Key; 7] = [
    Key(LazyLock::new(|| generate(&rcgen::PKCS_ECDSA_P256_SHA256))),
    Key(LazyLock::new(|| generate(&rcgen::PKCS_RSA_SHA256))),
    Key(LazyLock::new(|| generate(&rcgen::PKCS_ED25519))),
    Key(LazyLock::new(|| {
        inner(&rcgen::PKCS_ECDSA_P256_SHA256, "EC PRIVATE KEY")
    })),
    Key(LazyLock::new(|| {
        inner(&rcgen::PKCS_RSA_SHA256, "RSA PRIVATE KEY")
    })),
    Key(LazyLock::new(|| {
        generate(&rcgen::PKCS_ECDSA_P384_SHA384).replace("PRIVATE", "ENCRYPTED PRIVATE")
    })),
    Key(LazyLock::new(|| {
        let encrypted = "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n";
        inner(&rcgen::PKCS_RSA_SHA256, "RSA PRIVATE KEY").replacen("KEY-----\n", encrypted, 1)
    })),
];

pub struct Key(LazyLock<String>);

impl Key {
    pub fn pem(&self) -> &str {
        &self.0
    }
}

fn generate(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    wrapped("PRIVATE KEY", &key.serialize_der())
}

fn wrapped(label: &str, der: &[u8]) -> String {
    let body = BASE64.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// The key inside PKCS#8: SEC1 or PKCS#1, the last SEQUENCE in an OCTET STRING.
fn inner(algorithm: &'static rcgen::SignatureAlgorithm, label: &str) -> String {
    let der = rcgen::KeyPair::generate_for(algorithm)
        .unwrap()
        .serialize_der();
    let whole = der.len();
    let start = (10..60).find(|start| match der[*start..] {
        [0x30, 0x82, high, low, ..] => {
            start + 4 + usize::from(high) * 256 + usize::from(low) == whole
        }
        [0x30, length, ..] => start + 2 + usize::from(length) == whole,
        _ => false,
    });
    wrapped(label, &der[start.unwrap()..])
}

/// A file with the key and the certificate, mangled once or twice, and a description of the
/// changes.
pub fn file(random: &mut Random, key: &str, certificate: &str) -> (Vec<u8>, String) {
    let whole = match random.below(4) {
        0 => key.to_owned(),
        1 => format!("{certificate}{key}"),
        2 => format!("{key}{certificate}"),
        _ => format!("{certificate}{key}{certificate}"),
    };
    mangle(random, &whole)
}

/// Mangles a text once or twice, and describes the changes.
pub fn mangle(random: &mut Random, text: &str) -> (Vec<u8>, String) {
    let (first, mangle) = MANGLES[random.below(MANGLES.len())];
    let file = mangle(random, text);
    let (second, again) = MANGLES[random.below(MANGLES.len())];
    match String::from_utf8(file) {
        Ok(text) if random.below(2) == 0 => (again(random, &text), format!("{first}, {second}")),
        Ok(text) => (text.into_bytes(), first.to_owned()),
        Err(bytes) => (bytes.into_bytes(), first.to_owned()),
    }
}
