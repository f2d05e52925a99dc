//! Service names and the patterns that grant them. The name grammar is here and nowhere else.

use std::fmt;
use std::str::FromStr;

/// The name of a service: `[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}`.
///
/// Only names of this grammar are looked up in a directory. It has no `/`, no `%`, no control
/// character and no leading dot, so that a name is always one plain path component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(String);

impl ServiceName {
    /// The name of aegis's own metrics, `/metrics`: no service can have it.
    pub const OWN_METRICS: &'static str = "metrics";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without the end of a file name, or of a unit's.
    #[must_use]
    pub fn without_suffix(&self) -> Option<&str> {
        let stem = |suffix| self.0.strip_suffix(suffix).filter(|stem| !stem.is_empty());
        [".sock", ".socket", ".service"].into_iter().find_map(stem)
    }

    /// Whether the name belongs to aegis itself.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0 == Self::OWN_METRICS
    }
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, InvalidServiceName> {
        // To other tools, a leading `.`, `-` or `@` would mean a hidden file, an option or an
        // abstract socket.
        let mut bytes = text.bytes();
        let starts_well = bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_');
        let goes_on_well = bytes
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'@' | b'-'));
        if starts_well && goes_on_well && text.len() <= MAX_NAME_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidServiceName)
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is not a service name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidServiceName;

impl fmt::Display for InvalidServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "is not a service name; a name has 1 to {MAX_NAME_BYTES} of A-Z a-z 0-9 _ . @ - and starts with a letter, a digit or _"
        )
    }
}

/// With `.sock` this leaves room in `sun_path` (108 bytes with its NUL) for a short directory.
const MAX_NAME_BYTES: usize = 64;

/// Which services an allow entry grants. Anchored at both ends; not a regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServicePattern {
    /// `*`: every service.
    Any,
    /// `team-*`: every service whose name starts so.
    Prefix(String),
    /// `node`: this service.
    Exact(ServiceName),
}

impl ServicePattern {
    /// Whether the pattern grants the service.
    #[must_use]
    pub fn matches(&self, service: &ServiceName) -> bool {
        match self {
            Self::Any => true,
            Self::Prefix(prefix) => service.as_str().starts_with(prefix.as_str()),
            Self::Exact(name) => name == service,
        }
    }
}

impl FromStr for ServicePattern {
    type Err = InvalidServicePattern;

    fn from_str(text: &str) -> Result<Self, InvalidServicePattern> {
        match text.strip_suffix('*') {
            Some("") => Ok(Self::Any),
            // A prefix must itself be a name, or it could match none.
            Some(prefix) => prefix
                .parse::<ServiceName>()
                .map(|_| Self::Prefix(prefix.to_owned()))
                .map_err(|_| InvalidServicePattern),
            None => text
                .parse()
                .map(Self::Exact)
                .map_err(|_| InvalidServicePattern),
        }
    }
}

impl fmt::Display for ServicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(name) => name.fmt(f),
        }
    }
}

/// A text is not a service pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidServicePattern;

impl fmt::Display for InvalidServicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "is not a service pattern; write a service name, a start of names with one * at its end, or * for all",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_follow_the_grammar() {
        let longest = "a".repeat(MAX_NAME_BYTES);
        let too_long = "a".repeat(MAX_NAME_BYTES + 1);
        let cases: &[(&str, bool)] = &[
            ("node", true),
            ("_x", true),
            ("0", true),
            ("getty@tty1.service", true),
            ("a-b_c.d@e", true),
            ("node..exporter", true),
            (&longest, true),
            (&too_long, false),
            ("", false),
            (".", false),
            ("..", false),
            (".hidden", false),
            ("-rf", false),
            ("@abstract", false),
            ("a/b", false),
            ("a\\b", false),
            ("a%2fb", false),
            ("a b", false),
            ("a\0b", false),
            ("a\nb", false),
            ("a;b", false),
            ("a?b", false),
            ("a#b", false),
            ("a+b", false),
            ("a~b", false),
            ("n\u{f6}de", false),
            ("\u{ff0e}\u{ff0e}", false),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<ServiceName>().is_ok(), *expected, "{text:?}");
        }
    }

    #[test]
    fn patterns_are_anchored() {
        const CASES: &[(&str, &str, bool)] = &[
            ("*", "node", true),
            ("node", "node", true),
            ("node", "node2", false),
            ("node", "anode", false),
            ("node", "Node", false),
            ("team-*", "team-a", true),
            ("team-*", "team-", true),
            ("team-*", "team", false),
            ("team-*", "xteam-a", false),
        ];
        for (pattern, name, expected) in CASES {
            let pattern: ServicePattern = pattern.parse().unwrap();
            assert_eq!(
                pattern.matches(&name.parse().unwrap()),
                *expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn patterns_display_as_written() {
        for text in ["*", "node", "team-*"] {
            assert_eq!(text.parse::<ServicePattern>().unwrap().to_string(), text);
        }
        let no_name = "..".parse::<ServiceName>().unwrap_err().to_string();
        assert!(no_name.contains("1 to 64 of A-Z"), "{no_name}");
        let no_pattern = "a*b".parse::<ServicePattern>().unwrap_err().to_string();
        assert!(no_pattern.contains("one * at its end"), "{no_pattern}");
    }

    #[test]
    fn ambiguous_patterns_are_rejected() {
        for text in ["", "**", "a*b", "*a", "a**", ".*", "../*", "a/*", "a b"] {
            assert!(text.parse::<ServicePattern>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_always_one_plain_component(text in ".{0,70}") {
            if let Ok(name) = text.parse::<ServiceName>() {
                let path = std::path::Path::new(name.as_str());
                let parts: Vec<_> = path.components().collect();
                prop_assert_eq!(parts, vec![std::path::Component::Normal(name.as_str().as_ref())]);
                prop_assert!(name.as_str().is_ascii() && !name.as_str().starts_with('.'));
            }
        }

        #[test]
        fn every_text_of_the_grammar_is_a_name(text in "[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}") {
            let name: ServiceName = text.parse().unwrap();
            prop_assert_eq!(name.as_str(), text);
        }
    }
}
