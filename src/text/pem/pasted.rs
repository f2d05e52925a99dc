//! Whether a text that should be short is what belongs into a file: PEM, or base64 or hex of it.

use data_encoding::{BASE64_NOPAD, HEXLOWER_PERMISSIVE};

use super::found_in;

/// Whether a text that should be short is PEM or DER, or holds either in base64 or in hex: as a
/// Kubernetes Secret has it, behind `key:` or dashes, without its end or without its lines.
pub(crate) fn is_pasted(text: &str) -> bool {
    let is_blank = |character: char| character.is_whitespace() || character == ':';
    let dense: String = text.chars().filter(|one| !is_blank(*one)).collect();
    found_in(text).is_some() || is_encoded_in(text) || is_encoded_in(&dense)
}

/// Whether a text holds PEM or DER in base64 or in hex.
pub(crate) fn is_encoded_in(text: &str) -> bool {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || "+/-_".contains(c);
    let base64 = text.split(|c| !of_base64(c)).filter_map(from_base64);
    let hex = text.split(|c: char| !c.is_ascii_hexdigit());
    let hex = hex.filter_map(from_hex);
    base64.chain(hex).any(|bytes| is_secret(&bytes))
}

/// Decodes either alphabet, without what is over at the end.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_start_matches('-').bytes().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => byte,
    });
    let digits: Vec<u8> = digits.collect();
    let whole = digits.len() / 4 * 4;
    let digits = digits.get(..whole).filter(|_| whole >= SHORTEST)?;
    BASE64_NOPAD.decode(digits).ok()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let whole = text.len() / 2 * 2;
    let digits = text.get(..whole).filter(|_| whole >= SHORTEST)?;
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()
}

/// Whether bytes hold PEM, or begin as keys, certificates, CRLs and PKCS#12 do: a SEQUENCE that
/// begins with a SEQUENCE or a number of one byte.
fn is_secret(bytes: &[u8]) -> bool {
    let contents = match bytes {
        [0x30, 0..=0x7f, contents @ ..]
        | [0x30, 0x81, _, contents @ ..]
        | [0x30, 0x82, _, _, contents @ ..]
        | [0x30, 0x83, _, _, _, contents @ ..] => contents,
        _ => &[],
    };
    let is_der = matches!(contents, [0x30, ..] | [0x02, 0x01, 0..=3, ..]);
    is_der || found_in(&String::from_utf8_lossy(bytes)).is_some()
}

/// Characters that give away a part of a key; a path that begins with fewer is still a path.
const SHORTEST: usize = 16;
