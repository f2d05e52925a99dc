//! Behaviour that not every machine can show. Each file is one need, with the tests that have it.
//!
//! Where a need is not met, its tests are reported as ignored, with the reason: never as passed, and
//! never as failed. The standard harness can decide that only when a test is compiled.
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

/// The tests of a need, by name.
type Tests = &'static [(&'static str, fn())];

macro_rules! tests {
    ($($test:ident),* $(,)?) => { &[$((stringify!($test), $test)),*] };
}

mod root;
mod ipv6;
mod openssl;
mod landlock;
mod namespaces;
mod no_configuration;

/// Says what of a need this machine lacks.
type Missing = fn() -> Option<String>;

const NEEDS: [(&str, Missing, Tests); 6] = [
    ("root", root::missing, root::TESTS),
    ("ipv6", ipv6::missing, ipv6::TESTS),
    ("openssl", openssl::missing, openssl::TESTS),
    ("landlock", landlock::missing, landlock::TESTS),
    ("namespaces", namespaces::missing, namespaces::TESTS),
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
