//! The key by which a scraper's connections and scrapes are counted.

use super::{KeyPin, Name};

/// Identifies a scraper where limits are shared: a digest of all names of the certificate, or of
/// its key if it has none.
///
/// Replicas with one certificate are one scraper, and so is a scraper before and after its
/// certificate was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScraperId(KeyPin);

impl ScraperId {
    pub(super) fn of(names: &[Name], key: &KeyPin) -> Self {
        if names.is_empty() {
            return Self(*key);
        }
        let mut names: Vec<String> = names.iter().map(Name::to_string).collect();
        names.sort_unstable();
        names.dedup();
        // With its length before each: a name can hold any character.
        let names: String = names
            .iter()
            .map(|name| format!("{} {name}", name.len()))
            .collect();
        Self(KeyPin::of(names.as_bytes()))
    }

    /// The id of the operator, who scrapes without a certificate.
    #[must_use]
    pub fn operator() -> Self {
        Self(KeyPin::of(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scraper_id_covers_all_names_or_else_the_key() {
        let name = |text: &str| Name::Uri(text.to_owned());
        let keys = [KeyPin::of(b"one"), KeyPin::of(b"other")];
        let id = |names: &[&str], key: &KeyPin| {
            let names: Vec<Name> = names.iter().map(|text| name(text)).collect();
            ScraperId::of(&names, key)
        };
        // A renewed certificate, and another order.
        assert_eq!(id(&["a", "b"], &keys[0]), id(&["b", "a"], &keys[1]));
        assert_ne!(id(&["a"], &keys[0]), id(&["a", "b"], &keys[0]));
        assert_ne!(id(&["a", "b"], &keys[0]), id(&["auri:b"], &keys[0]));
        assert_ne!(id(&[], &keys[0]), id(&[], &keys[1]));
        assert_eq!(id(&[], &keys[0]), id(&[], &keys[0]));
    }
}
