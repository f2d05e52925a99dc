//! Random names and name constraints.

use crate::der::{Bytes, name, sequence, tlv};
use crate::random::Random;

/// Names of each kind: DNS, IP, URI, email, directory.
const DNS: [&str; 7] = [
    "a.example.org",
    "B.Example.org",
    "example.org",
    "*.example.org",
    "a.example.net",
    "a.example.org.",
    "\u{e9}.example.org",
];
const IP: [&[u8]; 5] = [
    &[192, 0, 2, 7],
    &[198, 51, 100, 7],
    &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7],
    &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
    &[192, 0, 2],
];
const URI: [&str; 3] = [
    "spiffe://example.org/prometheus",
    "spiffe://example.net/p",
    "urn:a",
];
const EMAIL: [&str; 3] = ["ops@example.org", "ops@example.net", "example.org"];

/// A valid subjectAltName. In some, there are an e-mail address and a directory name too.
pub fn good_names(random: &mut Random, more: &mut Random) -> Bytes {
    let mut names = match random.below(3) {
        0 => vec![tlv(0x82, DNS[0].as_bytes())],
        1 => vec![tlv(0x87, IP[random.below(2)])],
        _ => vec![tlv(0x86, URI[0].as_bytes()), tlv(0x82, DNS[0].as_bytes())],
    };
    if more.one_in(5) {
        names.push(tlv(0x81, EMAIL[0].as_bytes()));
    }
    if more.one_in(10) {
        names.push(tlv(0xa4, &name("somebody")));
    }
    sequence(&names)
}

/// nameConstraints that permit or exclude e-mail addresses or directory names, and a description.
pub fn later_constraints(random: &mut Random) -> (Bytes, String) {
    const HOSTS: [&str; 4] = [
        "example.org",
        "ops@example.org",
        ".example.org",
        "example.net",
    ];
    let (base, description) = match random.one_in(3) {
        true => {
            let common = random.pick(&["leaf", "somebody", "another"]);
            (tlv(0xa4, &name(common)), format!("directory {common:?}"))
        }
        false => {
            let host = random.pick(&HOSTS);
            (tlv(0x81, host.as_bytes()), format!("email {host:?}"))
        }
    };
    let (tag, way) = random.pick(&[(0xa0, "permit"), (0xa1, "exclude")]);
    (
        sequence(&[tlv(tag, &sequence(&[base]))]),
        format!("nameConstraints {way} {description}"),
    )
}

/// A subjectAltName, which may be invalid.
pub fn names(random: &mut Random) -> Bytes {
    let count = random.weighted(&[3, 70, 27]);
    let each: Vec<Bytes> = (0..count).map(|_| general_name(random)).collect();
    sequence(&each)
}

fn general_name(random: &mut Random) -> Bytes {
    match random.weighted(&[45, 25, 18, 8, 4]) {
        0 => tlv(0x82, random.pick(&DNS).as_bytes()),
        1 => tlv(0x87, random.pick(&IP)),
        2 => tlv(0x86, random.pick(&URI).as_bytes()),
        3 => tlv(0x81, random.pick(&EMAIL).as_bytes()),
        _ => tlv(0xa4, &name("somebody")),
    }
}

/// Networks: address and mask.
const NETWORKS: [&[u8]; 5] = [
    &[192, 0, 2, 0, 255, 255, 255, 0],
    &[198, 51, 0, 0, 255, 255, 0, 0],
    &[0, 0, 0, 0, 0, 0, 0, 0],
    &[192, 0, 2, 0, 255, 0, 255, 0],
    &[
        0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0,
    ],
];

/// nameConstraints, and a description.
pub fn constraints(random: &mut Random) -> (Bytes, String) {
    let subtree = |random: &mut Random| {
        const HOSTS: [&str; 4] = ["example.org", ".example.org", "example.net", ""];
        let (tag, base, kind) = match random.weighted(&[45, 25, 10, 10, 10]) {
            0 => (0x82, random.pick(&HOSTS).as_bytes().to_vec(), "DNS"),
            1 => (0x87, random.pick(&NETWORKS).to_vec(), "IP"),
            2 => (0x86, random.pick(&HOSTS[..2]).as_bytes().to_vec(), "URI"),
            3 => (
                0x81,
                random.pick(&["example.org", "ops@example.org"]).into(),
                "email",
            ),
            _ => (0xa4, name("leaf"), "directory"),
        };
        let description = match kind {
            "IP" | "directory" => kind.to_owned(),
            kind => format!("{kind} {:?}", String::from_utf8_lossy(&base)),
        };
        (sequence(&[tlv(tag, &base)]), description)
    };
    let (one, kind) = subtree(random);
    let (more, other) = match random.one_in(4) {
        true => subtree(random),
        false => (vec![], String::new()),
    };
    let (value, way) = match random.below(5) {
        0 | 1 => (tlv(0xa0, &[one, more].concat()), "permit"),
        2 | 3 => (tlv(0xa1, &[one, more].concat()), "exclude"),
        _ if more.is_empty() => (vec![], "constrain nothing"),
        _ => (
            [tlv(0xa0, &one), tlv(0xa1, &more)].concat(),
            "permit and exclude",
        ),
    };
    (
        tlv(0x30, &value),
        format!("nameConstraints {way} {kind} {other}"),
    )
}
