//! Needs a machine without a configuration of aegis at the default path.

use aegis::config::Config;

use crate::Tests;
use crate::harness::aegis::run;

pub const TESTS: Tests = tests![a_missing_configuration_names_the_default_path];

pub fn missing() -> Option<String> {
    let there = std::path::Path::new(Config::DEFAULT_FILE).exists();
    there.then(|| format!("this machine has {}", Config::DEFAULT_FILE))
}

fn a_missing_configuration_names_the_default_path() {
    let output = run(&["check"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    let first = "aegis: configuration: no configuration file: /etc/aegis/aegis.toml does not exist";
    assert!(stderr.starts_with(first), "{stderr}");
}
