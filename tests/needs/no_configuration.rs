//! Needs a machine without a configuration of aegis in its usual place.

use aegis::config::Config;

use crate::Tests;
use crate::harness::aegis::run;

pub const TESTS: Tests = tests![without_any_file_the_usual_one_is_named];

pub fn missing() -> Option<String> {
    let there = std::path::Path::new(Config::DEFAULT_FILE).exists();
    there.then(|| format!("this machine has {}", Config::DEFAULT_FILE))
}

fn without_any_file_the_usual_one_is_named() {
    let output = run(&["check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    let first = "aegis: configuration: no file was read: /etc/aegis/aegis.toml is not there";
    assert!(said.starts_with(first), "{said}");
}
