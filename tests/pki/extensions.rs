//! Encodes extensions.

use crate::der::{Bytes, boolean, oid, sequence, tlv};

pub const BASIC: &[u64] = &[2, 5, 29, 19];
pub const USAGE: &[u64] = &[2, 5, 29, 15];
pub const PURPOSE: &[u64] = &[2, 5, 29, 37];
pub const SUBJECT_KEY: &[u64] = &[2, 5, 29, 14];
pub const AUTHORITY_KEY: &[u64] = &[2, 5, 29, 35];
pub const NAMES: &[u64] = &[2, 5, 29, 17];
pub const CONSTRAINTS: &[u64] = &[2, 5, 29, 30];
pub const POLICIES: &[u64] = &[2, 5, 29, 32];
pub const POLICY_CONSTRAINTS: &[u64] = &[2, 5, 29, 36];
pub const POLICY_MAPPINGS: &[u64] = &[2, 5, 29, 33];
pub const ANY_POLICY: &[u64] = &[2, 5, 29, 54];
pub const POINTS: &[u64] = &[2, 5, 29, 31];
pub const NUMBER: &[u64] = &[2, 5, 29, 20];
pub const DELTA: &[u64] = &[2, 5, 29, 27];
pub const ISSUING_POINT: &[u64] = &[2, 5, 29, 28];
pub const REASON: &[u64] = &[2, 5, 29, 21];
pub const CERTIFICATE_ISSUER: &[u64] = &[2, 5, 29, 29];
pub const UNKNOWN: &[u64] = &[1, 3, 6, 1, 4, 1, 55738, 666, 1];

pub fn basic(ca: bool, path_length: Option<&[u8]>) -> Bytes {
    let ca = if ca { boolean(true) } else { vec![] };
    sequence(&[
        ca,
        path_length.map(|length| tlv(2, length)).unwrap_or_default(),
    ])
}

/// Bits from the left: 0 digitalSignature, 2 keyEncipherment, 5 keyCertSign, 6 cRLSign.
pub fn usage(of: &[u8]) -> Bytes {
    let value = of.iter().fold(0_u8, |value, bit| value | 0x80 >> bit);
    tlv(3, &[value.trailing_zeros().min(7) as u8, value])
}

/// 1 is for servers, 2 for clients, 0 for any.
pub fn purposes(of: &[u64]) -> Bytes {
    let each = of.iter().map(|purpose| match purpose {
        0 => oid(&[2, 5, 29, 37, 0]),
        purpose => oid(&[1, 3, 6, 1, 5, 5, 7, 3, *purpose]),
    });
    sequence(&each.collect::<Vec<_>>())
}

pub fn authority_key(id: &[u8]) -> Bytes {
    sequence(&[tlv(0x80, id)])
}

pub fn points(uri: &str) -> Bytes {
    let full_name = tlv(0xa0, &tlv(0x86, uri.as_bytes()));
    sequence(&[sequence(&[tlv(0xa0, &full_name)])])
}

pub fn issuing_point(uri: Option<&str>, more: &[Bytes]) -> Bytes {
    let full_name = uri.map(|uri| tlv(0xa0, &tlv(0xa0, &tlv(0x86, uri.as_bytes()))));
    sequence(&[full_name.unwrap_or_default(), more.concat()])
}

pub const URIS: [&str; 2] = ["http://e.org/one.crl", "http://e.org/other.crl"];
