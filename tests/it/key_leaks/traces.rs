//! Looks for parts of a key in a text, in any notation.

use std::collections::HashSet;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};

/// The parts that identify a key: 16 characters of its base64, or 12 bytes of its DER.
pub struct Traces {
    text: HashSet<Vec<u8>>,
    der: HashSet<Vec<u8>>,
}

const CHARACTERS: usize = 16;
const BYTES: usize = CHARACTERS / 4 * 3;

impl Traces {
    pub fn of(pem: &str) -> Self {
        let body: String = pem
            .lines()
            .filter(|line| !line.contains(['-', ':']))
            .collect();
        let der = BASE64.decode(body.as_bytes()).unwrap();
        let windows = |bytes: &[u8], size| bytes.windows(size).map(<[u8]>::to_vec).collect();
        Self {
            text: windows(body.as_bytes(), CHARACTERS),
            der: windows(&der, BYTES),
        }
    }

    /// A part of the key that the text contains.
    pub fn found_in(&self, text: &str) -> Option<String> {
        readings(text).iter().find_map(|bytes| {
            let mut of_text = bytes.windows(CHARACTERS);
            let mut of_der = bytes.windows(BYTES);
            let found = of_text.find(|part| self.text.contains(*part));
            let found = found.or_else(|| of_der.find(|part| self.der.contains(*part)));
            found.map(|part| part.escape_ascii().to_string())
        })
    }
}

/// The bytes that a text may encode: itself, its numbers, its hexadecimal digits and its base64.
fn readings(text: &str) -> Vec<Vec<u8>> {
    let mut readings = vec![text.bytes().filter(|byte| *byte > b' ').collect()];
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    readings.push(numbers.filter_map(|number| number.parse().ok()).collect());
    let spaced = text.replace("0x", "").replace("\\x", "");
    let dense: String = spaced.chars().filter(|c| !" ,:[]".contains(*c)).collect();
    for run in dense.split(|c: char| !c.is_ascii_hexdigit()) {
        for start in 0..2.min(run.len()) {
            let digits = &run.as_bytes()[start..];
            let even = &digits[..digits.len() / 2 * 2];
            readings.extend(HEXLOWER_PERMISSIVE.decode(even));
        }
    }
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    for run in text.split(|c: char| !is_base64(c)) {
        for start in 0..4.min(run.len()) {
            let digits = &run.as_bytes()[start..];
            let whole = &digits[..digits.len() / 4 * 4];
            readings.extend(BASE64.decode(whole));
        }
    }
    readings
}

#[test]
fn traces_finds_a_key_in_every_notation() {
    let key = crate::harness::mangled::KEYS[0].pem();
    let traces = Traces::of(key);
    let line = key.lines().nth(1).unwrap();
    let part = &line.as_bytes()[5..25];
    let der = BASE64.decode(&line.as_bytes()[4..24]).unwrap();
    for text in [
        format!("said {} there", String::from_utf8_lossy(part)),
        format!("said {part:?}"),
        format!("said {part:x?}"),
        format!("said {part:02x?}"),
        format!("said {der:?}"),
        HEXLOWER_PERMISSIVE.encode(&der),
        data_encoding::HEXUPPER.encode(part),
        format!("xyz{}", BASE64.encode(part)),
        format!("{:?}", String::from_utf8_lossy(part)),
    ] {
        assert!(traces.found_in(&text).is_some(), "{text}");
    }
    for text in ["", "said [45, 45, 45]", "/etc/aegis/server.key: line 3 has"] {
        assert_eq!(traces.found_in(text), None);
    }
}
