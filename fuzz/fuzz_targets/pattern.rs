//! Matches identity patterns against names, and compares the result with that of a text comparison.
//!
//! The input is a pattern and a scraper's name, on two lines.
#![no_main]

use aegis::policy::identity::{Claim, Identity, IdentityPattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    let Ok(pattern) = pattern.parse::<IdentityPattern>() else {
        return;
    };
    // The text of a pattern parses to the same pattern.
    let shown = pattern.to_string();
    assert_eq!(shown.parse(), Ok(pattern.clone()));
    assert!(
        shown.bytes().all(|byte| byte.is_ascii_graphic()),
        "{shown:?}"
    );
    assert!(shown.matches('*').count() <= 1);
    let Ok(claim) = name.parse::<Claim>() else {
        return;
    };
    let identity = Identity::claimed([claim]).unwrap();
    let name = identity.shown();
    let whole = match identity.names() {
        [] => identity.key().to_string(),
        [name] => name.to_string(),
        _ => panic!("of one claim"),
    };
    assert!(name == whole || whole.len() > 256 || whole.contains(['"', '\\']));
    let matched = pattern.matched(&identity);
    assert_eq!(
        matched.is_some(),
        matches(&shown, &whole),
        "{shown} {whole}"
    );
    assert!(matched.is_none_or(|matched| matched == whole));
});

fn matches(pattern: &str, name: &str) -> bool {
    if pattern == "*" || pattern == name {
        return true;
    }
    if let Some(suffix) = pattern.strip_prefix("dns:*") {
        let host = name.strip_prefix("dns:").unwrap_or_default();
        let label = host.strip_suffix(suffix).unwrap_or_default();
        return !label.is_empty() && !label.contains('.');
    }
    match pattern.strip_suffix('*') {
        Some(prefix) => {
            let path = name.strip_prefix(prefix).unwrap_or_default();
            let leads_up =
                format!("/{path}/").contains("/../") || format!("/{path}/").contains("/./");
            let is_strange = |at: char| !at.is_ascii_graphic() || "%?#".contains(at);
            !path.is_empty() && !leads_up && !path.contains(is_strange)
        }
        None => false,
    }
}
