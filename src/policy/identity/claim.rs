//! Names and keys that an operator gives to `aegis explain`.

use std::error;
use std::fmt;
use std::str::FromStr;

use super::{Identity, IdentityPattern, KeyPin, Name, ScraperId};

/// One name or key that a scraper may have, written as in an allow entry but without `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// `spki:sha256/BASE64`
    Key(KeyPin),
    /// `dns:NAME`, `email:ADDRESS`, `ip:ADDRESS` or `uri:URI`
    Name(Name),
}

impl Identity {
    /// Makes an unverified identity: there is no certificate.
    ///
    /// # Errors
    /// There is more than one key; a certificate has one.
    pub fn claimed(claims: impl IntoIterator<Item = Claim>) -> Result<Self, TwoKeys> {
        let (mut names, mut key) = (Vec::new(), None);
        for claim in claims {
            match claim {
                Claim::Name(name) => names.push(name),
                Claim::Key(pin) if key.is_none() => key = Some(pin),
                Claim::Key(_) => return Err(TwoKeys),
            }
        }
        // No certificate has an empty key, so no entry matches this pin.
        let key = key.unwrap_or_else(|| KeyPin::of(&[]));
        Ok(Self {
            scraper: ScraperId::of(&names, &key),
            names,
            key,
            serial: String::new(),
            not_before: i64::MIN,
            not_after: i64::MAX,
        })
    }
}

impl FromStr for Claim {
    type Err = InvalidClaim;

    fn from_str(text: &str) -> Result<Self, InvalidClaim> {
        match text.parse().map_err(|_| InvalidClaim)? {
            IdentityPattern::Exact(name) => Ok(Self::Name(name)),
            IdentityPattern::Key(pin) => Ok(Self::Key(pin)),
            IdentityPattern::Any
            | IdentityPattern::DnsWildcard(_)
            | IdentityPattern::UriPrefix(_) => Err(InvalidClaim),
        }
    }
}

/// A text is not one name or key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidClaim;

impl fmt::Display for InvalidClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not a name of a scraper; write dns:prometheus.example.org, uri:spiffe://example.org/prometheus, ip:192.0.2.7, email:ops@example.org or spki:sha256/BASE64, without *")
    }
}

impl error::Error for InvalidClaim {}

/// There is more than one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoKeys;

impl fmt::Display for TwoKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a certificate has one key; give one spki:sha256/… at most")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn claims_parse_as_exact_patterns(
            text in r"(dns|uri|ip|email|spki|cn)?:?[a-zA-Z0-9.:/@*-]{0,20}|spiffe://[a-z.]{1,8}/[a-z*.]{0,8}",
        ) {
            if let Ok(claim) = text.parse::<Claim>() {
                let identity = Identity::claimed([claim.clone()]).unwrap();
                prop_assert_eq!(identity.shown().parse(), Ok(claim));
                let pattern: IdentityPattern = text.parse().unwrap();
                prop_assert_eq!(pattern.matched(&identity), Some(identity.shown()));
                prop_assert!(!text.contains('*'));
            }
        }
    }

    #[test]
    fn claims_reject_wildcards() {
        let pin = KeyPin([7; 32]).to_string();
        let cases = [
            ("dns:Prometheus.example.org", "dns:prometheus.example.org"),
            ("spiffe://e.org/p", "uri:spiffe://e.org/p"),
            ("ip:::ffff:192.0.2.7", "ip:192.0.2.7"),
            ("email:Ops@E.org", "email:Ops@e.org"),
            (&pin, &pin),
        ];
        for (text, shown) in cases {
            let identity = Identity::claimed([text.parse().unwrap()]).unwrap();
            assert_eq!(identity.shown(), shown, "{text}");
            let pattern: IdentityPattern = text.parse().unwrap();
            assert_eq!(pattern.matched(&identity).as_deref(), Some(shown));
        }
        for text in [
            "",
            "*",
            "prometheus.example.org",
            "dns:*.example.org",
            "spiffe://e.org/*",
            "cn:prometheus",
            "spki:sha256/AAAA",
        ] {
            assert_eq!(text.parse::<Claim>(), Err(InvalidClaim), "{text:?}");
        }
    }

    #[test]
    fn claims_reject_a_second_key() {
        let pin = |byte| Claim::Key(KeyPin([byte; 32]));
        let error = Identity::claimed([pin(7), pin(8)]).unwrap_err();
        assert!(error.to_string().starts_with("a certificate has one key"));
        let error = "*".parse::<Claim>().unwrap_err();
        assert!(error.to_string().starts_with("is not a name of a scraper"));
    }
}
