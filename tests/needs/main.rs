//! Tests with requirements that not every machine meets. Each file has the tests of one requirement.
//!
//! If a requirement is missing, its tests are reported as ignored, with the reason. The standard
//! harness can ignore tests only at compile time.
#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic, and says why"
)]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

#[path = "../harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "tests/it uses the rest")]
mod harness;

/// The tests of a requirement, by name.
type Tests = &'static [(&'static str, fn())];

macro_rules! tests {
    ($($test:ident),* $(,)?) => { &[$((stringify!($test), $test)),*] };
}

mod root;
mod ipv6;
mod openssl;
mod pem_bundles;
mod landlock;
mod file_layouts;
mod namespaces;
mod container_mounts;
mod name_service;
mod inotify_limit;
mod no_configuration;

/// Returns the reason if this machine does not meet a requirement.
type Missing = fn() -> Option<String>;

const NEEDS: [(&str, Missing, Tests); 11] = [
    ("root", root::missing, root::TESTS),
    ("ipv6", ipv6::missing, ipv6::TESTS),
    ("openssl", openssl::missing, openssl::TESTS),
    ("pem_bundles", openssl::missing, pem_bundles::TESTS),
    ("landlock", landlock::missing, landlock::TESTS),
    ("file_layouts", landlock::missing, file_layouts::TESTS),
    ("namespaces", namespaces::missing, namespaces::TESTS),
    (
        "container_mounts",
        container_mounts::missing,
        container_mounts::TESTS,
    ),
    (
        "name_service",
        container_mounts::missing,
        name_service::TESTS,
    ),
    (
        "inotify_limit",
        inotify_limit::missing,
        inotify_limit::TESTS,
    ),
    (
        "no_configuration",
        no_configuration::missing,
        no_configuration::TESTS,
    ),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = NEEDS.iter().flat_map(|(need, missing, tests)| {
        let trial = move |(name, test): &(&str, fn())| trial(need, *missing, name, *test);
        tests.iter().map(trial)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn trial(need: &str, missing: Missing, name: &str, test: fn()) -> Trial {
    Trial::ignorable_test(format!("{need}::{name}"), move || match missing() {
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => {
            test();
            Ok(Completion::Completed)
        }
    })
}
