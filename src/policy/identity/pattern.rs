//! The patterns of an allow entry's identity column. Anchored at both ends; none is a regex.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{Identity, KeyPin, Name};

/// Which identities an allow entry admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityPattern {
    /// `*`: every certificate of the client CA.
    Any,
    /// `dns:*.example.org`: one label in front of the suffix, which is kept with its dot.
    DnsWildcard(String),
    /// `dns:NAME`, `email:ADDRESS`, `ip:ADDRESS` or `uri:URI`: exactly this name.
    Exact(Name),
    /// `spki:sha256/BASE64`: the leaf's public key.
    Key(KeyPin),
    /// `uri:PREFIX/*`: URIs that go on after the slash; the prefix is kept with its slash.
    UriPrefix(String),
}

impl IdentityPattern {
    /// The name or key that the pattern matches, as logs show it; `None` if none does.
    #[must_use]
    pub fn matched(&self, identity: &Identity) -> Option<String> {
        match self {
            Self::Any => Some(match identity.names().first() {
                Some(name) => name.to_string(),
                None => identity.key().to_string(),
            }),
            Self::Key(pin) => (pin == identity.key()).then(|| pin.to_string()),
            Self::DnsWildcard(_) | Self::Exact(_) | Self::UriPrefix(_) => identity
                .names()
                .iter()
                .find(|name| self.matches_name(name))
                .map(Name::to_string),
        }
    }

    fn matches_name(&self, name: &Name) -> bool {
        match (self, name) {
            (Self::Exact(wanted), name) => wanted == name,
            // A certificate for `*.example.org` names no host, so it has no label to match.
            (Self::DnsWildcard(suffix), Name::Dns(name)) => {
                name.strip_suffix(suffix.as_str()).is_some_and(is_dns_label)
            }
            (Self::UriPrefix(prefix), Name::Uri(uri)) => {
                uri.strip_prefix(prefix.as_str()).is_some_and(is_plain_path)
            }
            (
                Self::Any | Self::Key(_) | Self::DnsWildcard(_) | Self::UriPrefix(_),
                Name::Dns(_) | Name::Email(_) | Name::Ip(_) | Name::Uri(_),
            ) => false,
        }
    }
}

impl FromStr for IdentityPattern {
    type Err = InvalidIdentityPattern;

    fn from_str(text: &str) -> Result<Self, InvalidIdentityPattern> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.starts_with("spiffe://") {
            return uri(text);
        }
        match text.split_once(':') {
            Some(("dns", name)) => dns(name),
            Some(("email", address)) => email(address),
            Some(("ip", address)) => address
                .parse::<IpAddr>()
                .map(|address| Self::Exact(Name::Ip(address.to_canonical())))
                .map_err(|_| InvalidIdentityPattern::Ip),
            Some(("spki", pin)) => pin
                .strip_prefix("sha256/")
                .and_then(KeyPin::from_base64)
                .map(Self::Key)
                .ok_or(InvalidIdentityPattern::Key),
            Some(("uri", name)) => uri(name),
            Some(("DNS" | "IP" | "IP Address" | "URI" | "EMAIL", _)) => {
                Err(InvalidIdentityPattern::Capitals)
            }
            Some(_) | None => Err(InvalidIdentityPattern::Kind),
        }
    }
}

fn dns(name: &str) -> Result<IdentityPattern, InvalidIdentityPattern> {
    let name = name.to_ascii_lowercase();
    let (host, wildcard) = match name.strip_prefix("*.") {
        Some(host) => (host, true),
        None => (name.as_str(), false),
    };
    if !host.split('.').all(is_dns_label) {
        return Err(InvalidIdentityPattern::Dns);
    }
    Ok(if wildcard {
        IdentityPattern::DnsWildcard(format!(".{host}"))
    } else {
        IdentityPattern::Exact(Name::Dns(name))
    })
}

fn is_dns_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn email(address: &str) -> Result<IdentityPattern, InvalidIdentityPattern> {
    match address.rsplit_once('@') {
        Some((local, domain))
            if !local.is_empty() && is_plain(local) && domain.split('.').all(is_dns_label) =>
        {
            Ok(IdentityPattern::Exact(Name::email(address)))
        }
        Some(_) | None => Err(InvalidIdentityPattern::Email),
    }
}

fn uri(text: &str) -> Result<IdentityPattern, InvalidIdentityPattern> {
    let (scheme, rest) = text.split_once("://").ok_or(InvalidIdentityPattern::Uri)?;
    let authority = rest.split('/').next().unwrap_or_default();
    if scheme.is_empty() || authority.is_empty() || !is_plain(text.trim_end_matches('*')) {
        return Err(InvalidIdentityPattern::Uri);
    }
    match text.strip_suffix('*') {
        None => Ok(IdentityPattern::Exact(Name::Uri(text.to_owned()))),
        // Without the slash, spiffe://example.org* would match example.org.attacker.net;
        // with no authority before it, every trust domain there is.
        Some(prefix) if prefix.ends_with('/') && rest != authority => {
            Ok(IdentityPattern::UriPrefix(prefix.to_owned()))
        }
        Some(_) => Err(InvalidIdentityPattern::Uri),
    }
}

/// Whether a path is literal: no dot segment, no percent-encoding, no query, no fragment. A SPIFFE ID has none of them either.
fn is_plain_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'#');
    !path.is_empty()
        && path.bytes().all(is_plain)
        && path
            .split('/')
            .all(|segment| !matches!(segment, "." | ".."))
}

/// Whether a text is visible ASCII without `*`.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'*')
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::DnsWildcard(suffix) => write!(f, "dns:*{suffix}"),
            Self::Exact(name) => name.fmt(f),
            Self::Key(pin) => pin.fmt(f),
            Self::UriPrefix(prefix) => write!(f, "uri:{prefix}*"),
        }
    }
}

/// Why a text is not an identity pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidIdentityPattern {
    /// Not a DNS name, nor one label's wildcard in front of one.
    Dns,
    /// Not an email address.
    Email,
    /// Not an IP address.
    Ip,
    /// Not the base64 of a SHA-256.
    Key,
    /// A kind of name as openssl prints it.
    Capitals,
    /// No kind of name in front; it would be ambiguous.
    Kind,
    /// Not a URI with an authority, or a `*` elsewhere than after a final slash.
    Uri,
}

impl fmt::Display for InvalidIdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "is not a DNS name; write dns:prometheus.example.org, or dns:*.example.org for one label",
            Self::Email => "is not an email address; write email:ops@example.org",
            Self::Ip => "is not an IP address; write ip:192.0.2.7",
            Self::Key => "is not a key pin; write spki:sha256/ and the base64 of the SHA-256 of the public key (44 characters)",
            Self::Capitals => "has its kind as openssl prints it; write dns:…, ip:…, uri:… or email:… in small letters",
            Self::Kind => "does not say what kind of name it is; write dns:…, uri:…, spiffe://…, ip:…, email:…, spki:sha256/… or *",
            Self::Uri => "is not a URI; write uri:spiffe://example.org/prometheus, with /* at its end for everything below",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(names: Vec<Name>) -> Identity {
        Identity {
            scraper: super::super::ScraperId::operator(),
            names,
            key: KeyPin([7; 32]),
            serial: String::new(),
            not_before: 0,
            not_after: 0,
        }
    }

    fn dns_name(name: &str) -> Name {
        Name::Dns(name.to_owned())
    }

    fn uri_name(uri: &str) -> Name {
        Name::Uri(uri.to_owned())
    }

    #[test]
    fn patterns_match_whole_names_of_their_own_kind() {
        let cases: &[(&str, Name, bool)] = &[
            ("dns:a.example.org", dns_name("a.example.org"), true),
            ("dns:A.Example.org", dns_name("a.example.org"), true),
            ("dns:a.example.org", dns_name("xa.example.org"), false),
            (
                "dns:a.example.org",
                dns_name("a.example.org.evil.net"),
                false,
            ),
            ("dns:a.example.org", dns_name("a.example.org."), false),
            ("dns:a.example.org", uri_name("a.example.org"), false),
            ("dns:*.example.org", dns_name("a.example.org"), true),
            ("dns:*.example.org", dns_name("a.b.example.org"), false),
            ("dns:*.example.org", dns_name("example.org"), false),
            ("dns:*.example.org", dns_name(".example.org"), false),
            ("dns:*.example.org", dns_name("*.example.org"), false),
            ("dns:*.example.org", dns_name("a\0.example.org"), false),
            ("spiffe://e.org/p", uri_name("spiffe://e.org/p"), true),
            ("uri:spiffe://e.org/p", uri_name("spiffe://e.org/p"), true),
            ("spiffe://e.org/p", uri_name("spiffe://e.org/P"), false),
            ("spiffe://e.org/p", uri_name("spiffe://e.org/p/q"), false),
            ("spiffe://e.org/*", uri_name("spiffe://e.org/p/q"), true),
            ("spiffe://e.org/*", uri_name("spiffe://e.org/"), false),
            ("uri:u://e.org/a/*", uri_name("u://e.org/a/..b/."), false),
            ("uri:u://e.org/a/*", uri_name("u://e.org/a/..b/.c"), true),
            ("uri:u://e.org/a/*", uri_name("u://e.org/a/../b"), false),
            ("uri:u://e.org/a/*", uri_name("u://e.org/a/%2e%2e/b"), false),
            ("uri:u://e.org/a/*", uri_name("u://e.org/a/b?c"), false),
            ("uri:u://e.org/a/*", uri_name("u://e.org/a/b#c"), false),
            ("uri:u://e.org/a/*", uri_name("u://e.org/a/b\n"), false),
            (
                "spiffe://e.org/*",
                uri_name("spiffe://e.org.evil.net/p"),
                false,
            ),
            ("email:Ops@e.org", Name::email("Ops@E.ORG"), true),
            ("email:ops@e.org", Name::email("Ops@e.org"), false),
            ("ip:192.0.2.7", Name::Ip("192.0.2.7".parse().unwrap()), true),
            (
                "ip:::ffff:192.0.2.7",
                Name::Ip("192.0.2.7".parse().unwrap()),
                true,
            ),
            ("ip:192.0.2.7", dns_name("192.0.2.7"), false),
            ("*", dns_name("anything"), true),
        ];
        for (text, name, expected) in cases {
            let pattern: IdentityPattern = text.parse().unwrap();
            let matched = pattern.matched(&identity(vec![name.clone()]));
            assert_eq!(matched.is_some(), *expected, "{text} against {name}");
        }
    }

    #[test]
    fn the_first_matching_name_is_shown() {
        let scraper = identity(vec![dns_name("first.org"), uri_name("spiffe://e.org/p")]);
        let matched = |text: &str| text.parse::<IdentityPattern>().unwrap().matched(&scraper);
        assert_eq!(matched("spiffe://e.org/*").unwrap(), "uri:spiffe://e.org/p");
        assert_eq!(matched("*").unwrap(), "dns:first.org");
        assert_eq!(matched("dns:second.org"), None);
    }

    #[test]
    fn a_key_pin_matches_its_key_alone() {
        let pin = KeyPin([7; 32]).to_string();
        let other = KeyPin([8; 32]).to_string();
        let scraper = identity(vec![]);
        let matched = |text: &str| text.parse::<IdentityPattern>().unwrap().matched(&scraper);
        assert_eq!(matched(&pin), Some(pin.clone()));
        assert_eq!(matched(&other), None);
        assert_eq!(matched("*"), Some(pin));
    }

    #[test]
    fn invalid_patterns_say_what_to_write() {
        use InvalidIdentityPattern::{Dns, Email, Ip, Key, Kind, Uri};
        const CASES: &[(&str, InvalidIdentityPattern)] = &[
            ("", Kind),
            ("prometheus.example.org", Kind),
            ("cn:prometheus", Kind),
            ("dns:", Dns),
            ("dns:*", Dns),
            ("dns:*.", Dns),
            ("dns:a.*.org", Dns),
            ("dns:**.org", Dns),
            ("dns:a..org", Dns),
            ("dns:a.org.", Dns),
            ("dns:a b", Dns),
            ("email:ops", Email),
            ("email:@e.org", Email),
            ("ip:192.0.2.0/24", Ip),
            ("spki:sha256/AAAA", Key),
            ("spki:AAAA", Key),
            ("spiffe://", Uri),
            ("spiffe://*", Uri),
            ("spiffe:///*", Uri),
            ("spiffe://e.org*", Uri),
            ("spiffe://e.org/p*", Uri),
            ("spiffe://e.org/*/p", Uri),
            ("spiffe://e.org/**", Uri),
            ("uri:e.org", Uri),
        ];
        for (text, why) in CASES {
            assert_eq!(text.parse::<IdentityPattern>(), Err(*why), "{text:?}");
            assert!(why.to_string().contains("; write "), "{why}");
        }
    }

    proptest! {
        #[test]
        fn patterns_round_trip_through_display(
            kind in prop::sample::select(&["", "dns:", "uri:", "ip:", "email:"][..]),
            text in "[a-zA-Z0-9.:/@*-]{0,20}",
        ) {
            if let Ok(pattern) = format!("{kind}{text}").parse::<IdentityPattern>() {
                prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
            }
        }

        #[test]
        fn an_exact_pattern_matches_only_its_name(
            labels in prop::collection::vec("[a-z0-9_-]{1,4}", 1..4),
            more in "[a-z0-9.-]{1,3}",
        ) {
            let host = labels.join(".");
            let pattern: IdentityPattern = format!("dns:{host}").parse().unwrap();
            let matches = |name: String| pattern.matched(&identity(vec![dns_name(&name)])).is_some();
            prop_assert!(matches(host.clone()));
            prop_assert!(!matches([&*host, &*more].concat()));
            prop_assert!(!matches([&*more, &*host].concat()));
        }
    }

    #[test]
    fn patterns_display_as_written() {
        for text in [
            "*",
            "dns:*.e.org",
            "dns:e.org",
            "uri:spiffe://e.org/*",
            "email:a@e.org",
            "ip:::1",
        ] {
            assert_eq!(text.parse::<IdentityPattern>().unwrap().to_string(), text);
        }
    }
}
