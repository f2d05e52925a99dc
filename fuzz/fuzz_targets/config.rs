//! Configuration files: none makes aegis panic, and every error has its location.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use aegis::config::{Config, Overrides};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let file: PathBuf = FOLDER.path().join("aegis.toml");
    fs::write(&file, bytes).unwrap();
    let overrides = Overrides {
        config: Some(file.clone()),
        ..Overrides::default()
    };
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    drop(Config::admin_socket(&overrides));
    match Config::load(&overrides) {
        Ok(config) => {
            assert!(!config.listen.is_empty());
            assert!(!config.policy.entries().is_empty());
            assert!(config.limits.connections > 0 && !config.limits.scrape_timeout.is_zero());
            for entry in config.policy.entries() {
                assert!(!entry.identities.is_empty() && !entry.services.is_empty());
            }
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in faults {
                assert!(!fault.problem().is_empty() && fault.line() <= lines);
                let place = fault.at();
                // In the file, or about a key that is missing from it.
                let in_file = place == format!("{}:{}", file.display(), fault.line());
                let of_file = place == "--config" && fault.key().is_empty();
                let is_missing = place == file.display().to_string() && !fault.key().is_empty();
                // The sum of those that are not named singly.
                let is_sum = fault.problem().ends_with("is it the right file?");
                assert!(
                    (in_file && fault.line() > 0) || of_file || is_missing || is_sum,
                    "{fault}"
                );
            }
        }
    }
});
