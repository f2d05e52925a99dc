//! The names and the expiry of the server's certificate.

use serde_json::Value;

use crate::policy::identity::Identity;
use crate::text::escaped::Escaped;
use crate::text::json::object;
use crate::text::time::rfc3339;

/// The server's certificate: what scrapers can verify, and until when.
pub(super) struct Certificate {
    names: Vec<String>,
    expires: String,
}

impl Certificate {
    /// Reads a certificate (DER); `None` if one of its names is malformed.
    pub(super) fn of(leaf: &[u8]) -> Option<Self> {
        let identity = Identity::from_leaf(leaf).ok()?;
        let names = identity.names().iter();
        let names = names.map(|name| Escaped(name.to_string().as_bytes()).to_string());
        Some(Self {
            names: names.collect(),
            expires: rfc3339(identity.not_after()),
        })
    }

    /// One line.
    pub(super) fn text(&self) -> String {
        let Self { names, expires } = self;
        let more = names.len().saturating_sub(MAX_NAMED);
        let mut shown = Vec::from_iter(names.iter().take(MAX_NAMED).cloned());
        shown.extend((more > 0).then(|| format!("and {more} more")));
        let names = match shown.as_slice() {
            [] => "no names".to_owned(),
            shown => format!("names {}", shown.join(" ")),
        };
        format!("certificate: {names}, expires {expires}\n")
    }

    pub(super) fn json(&self) -> Value {
        object(vec![
            ("names", self.names.clone().into()),
            ("expires", self.expires.clone().into()),
        ])
    }
}

/// More would hide the expiry.
const MAX_NAMED: usize = 5;
