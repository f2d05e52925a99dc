//! Matches service patterns against names, and compares the result with a text comparison.
//!
//! The input is a name, or a pattern and a name on two lines.
#![no_main]

use std::path::{Component, Path};

use aegis::policy::service_name::{ServiceName, ServicePattern};
use aegis_fuzz::requests::is_name;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    let parsed = name.parse::<ServiceName>();
    assert_eq!(parsed.is_ok(), is_name(name));
    let prefix = pattern.strip_suffix('*');
    let granted = pattern.parse::<ServicePattern>();
    let is_pattern = pattern == "*" || is_name(prefix.unwrap_or(pattern));
    assert_eq!(granted.is_ok(), is_pattern);
    if let Ok(parsed) = &parsed {
        assert_eq!(parsed.as_str(), name);
        let file = format!("{name}.sock");
        let parts: Vec<_> = Path::new(&file).components().collect();
        assert_eq!(parts, [Component::Normal(file.as_ref())]);
        assert!(file.len() < 108, "room in sun_path");
    }
    if let (Ok(granted), Ok(parsed)) = (granted, parsed) {
        let matches = match prefix {
            Some(prefix) => name.get(..prefix.len()) == Some(prefix),
            None => name == pattern,
        };
        assert_eq!(granted.matches(&parsed), matches);
        assert_eq!(granted.to_string(), pattern);
    }
});
