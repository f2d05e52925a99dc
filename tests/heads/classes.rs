//! The classes of differences that docs/request-heads.md explains.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::connect::{Seen, heads};
use crate::servers::Peer;

/// A request that aegis sees and another server does not.
pub struct Difference<'a> {
    peer: Peer,
    /// With what the other one refuses it; `None` if it closes the connection, or sees another
    /// request.
    refusal: Option<u16>,
    /// Whether it sees another request in its place.
    is_another: bool,
    /// Its head, up to and including the empty line.
    head: &'a [u8],
    /// The head in front of it, which both accepted.
    before: &'a [u8],
}

impl<'a> Difference<'a> {
    /// The first of them.
    pub fn find(aegis: &Seen, peer: Peer, seen: &Seen, bytes: &'a [u8]) -> Option<Self> {
        let same = aegis.requests.iter().zip(&seen.requests);
        let place = same.take_while(|(aegis, other)| aegis == other).count();
        if place == aegis.requests.len() {
            return None;
        }
        let heads: Vec<&[u8]> = heads(bytes).take(place + 1).collect();
        let is_another = seen.requests.len() > place;
        Some(Self {
            peer,
            refusal: seen.refusal.filter(|_| !is_another),
            is_another,
            head: heads[place],
            before: place.checked_sub(1).map_or(b"", |before| heads[before]),
        })
    }

    fn refused_by(&self, peer: Peer) -> bool {
        self.peer == peer && self.refusal == Some(400)
    }

    fn closed_by(&self, peer: Peer) -> bool {
        self.peer == peer && self.refusal.is_none() && !self.is_another
    }
}

/// The headers of a head: names, and values with the spaces around them.
fn headers(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = head.split(|byte| *byte == b'\n');
    lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = &line[colon + 1..];
        Some((&line[..colon], value.strip_suffix(b"\r").unwrap_or(value)))
    })
}

/// The values of a header, in lower case.
fn values(head: &[u8], name: &str) -> Vec<String> {
    let named = headers(head).filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
    named
        .map(|(_, value)| String::from_utf8_lossy(value).to_lowercase())
        .collect()
}

type Fits = fn(&Difference<'_>) -> bool;

const CLASSES: &[(&str, Fits)] = &[
    ("an empty line before a request", |one| {
        one.refused_by(Peer::Go) && one.head.starts_with(b"\r\n")
    }),
    ("a Host with an empty label", |one| {
        let hosts = values(one.head, "host");
        let mut hosts = hosts.iter().map(|host| host.trim());
        one.refused_by(Peer::Nginx)
            && hosts.any(|host| host.contains("..") || host.split(':').next() == Some("."))
    }),
    ("a tab around the value of Host or Content-Length", |one| {
        let values = [values(one.head, "host"), values(one.head, "content-length")].concat();
        let mut values = values.iter().map(|value| value.trim_matches(' '));
        one.refused_by(Peer::Nginx)
            && values.any(|value| value.starts_with('\t') || value.ends_with('\t'))
    }),
    ("a condition or credentials twice", |one| {
        let is_twice = |name: &&str| values(one.head, name).len() > 1;
        one.refused_by(Peer::Nginx) && UNIQUE_IN_NGINX.iter().any(is_twice)
    }),
    ("a header name of more than 255 bytes", |one| {
        one.refused_by(Peer::Haproxy) && headers(one.head).any(|(name, _)| name.len() > 255)
    }),
    ("an upgrade to WebSocket without a valid key", |one| {
        let upgrades = values(one.head, "upgrade");
        let keys = values(one.head, "sec-websocket-key");
        one.refused_by(Peer::Haproxy)
            && upgrades.iter().any(|upgrade| upgrade.contains("websocket"))
            // 16 bytes in base64 (RFC 6455, section 4.1).
            && !matches!(&keys[..], [key] if key.trim().len() == 24)
    }),
    ("close as a part of a connection option", |one| {
        let values = values(one.before, "connection").join(",");
        let options: Vec<&str> = values.split(',').map(str::trim).collect();
        (one.closed_by(Peer::Nginx) || one.closed_by(Peer::Go))
            && options.iter().any(|option| option.contains("close"))
            // aegis closes for this option itself.
            && !options.contains(&"close")
    }),
];

/// Headers that nginx refuses if there are two of them, and that aegis does not read.
const UNIQUE_IN_NGINX: &[&str] = &[
    "authorization",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
];

/// The class of a difference; `None` if it is in no class.
pub fn of(difference: &Difference<'_>) -> Option<&'static str> {
    let found = CLASSES.iter().find(|(_, fits)| fits(difference));
    found.map(|(class, _)| *class)
}

/// The classes that are not among these.
pub fn missing<'a>(met: impl Iterator<Item = &'a str>) -> Vec<&'static str> {
    let met: BTreeSet<&str> = met.collect();
    let all = CLASSES.iter().map(|(class, _)| *class);
    all.filter(|class| !met.contains(class)).collect()
}

/// Panics unless each class is in the document.
pub fn assert_documented() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/request-heads.md");
    let words = fs::read_to_string(file).unwrap();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    for (class, _) in CLASSES {
        assert!(
            words.contains(class),
            "not in docs/request-heads.md: {class}"
        );
    }
}
