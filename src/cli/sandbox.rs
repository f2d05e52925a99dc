//! `aegis sandbox`: enters the sandbox of serve and tests that it confines.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use super::flags::Flags;
use super::{print, report_error};
use crate::config::{Config, Overrides};
use crate::gate::Gate;
use crate::server::run::{self, ServeError};
use crate::server::sandbox::{self, EscapeTest, Paths};
use crate::text::escaped::visible;

/// Reports each attempt to escape and its outcome, and whether reloads still work.
pub(super) fn sandbox(flags: Flags) -> ExitCode {
    // As serve resolves them.
    let overrides = Overrides::from(flags).absolute();
    let file = Config::file(&overrides);
    let loaded = run::load(&overrides).and_then(|config| {
        let (sandbox, paths) = (config.sandbox, Paths::of(&config, file));
        // What serve would refuse is no finding about the sandbox.
        Gate::build(config, None).map(|_| (sandbox, paths))
    });
    let (sandbox, paths) = match loaded {
        Ok(loaded) => loaded,
        Err(faults) => return report_error(&ServeError::Configuration(faults)),
    };
    overrides.users.close();
    let (enforcement, attempts) = match sandbox::attempts(sandbox, &paths, &writable_directory()) {
        Ok(tried) => tried,
        Err(why) => return report_error(&run::unsealed(why, file)),
    };
    let missing = enforcement.missing();
    let mut report: String = missing.map(|missing| visible(&missing) + "\n").collect();
    let mut is_good = true;
    for attempt in &attempts {
        is_good &= attempt.passed();
        report.push_str(&line(attempt));
    }
    for replacement in enforcement.replacements() {
        match replacement {
            Ok(replaced) => report.push_str(&format!("works: replace {}\n", visible(replaced))),
            // It is listed as missing.
            Err(_) => is_good = false,
        }
    }
    // The same steps as at a reload, from inside.
    let reloaded = Config::load(&overrides).and_then(|config| Gate::build(config, None));
    match reloaded {
        Ok(_) => report.push_str("works: reload\n"),
        Err(faults) => {
            is_good = false;
            for fault in faults {
                report.push_str(&format!("FAILS: reload: {fault}\n"));
            }
        }
    }
    let code = if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    print(&report, code)
}

fn line(attempt: &EscapeTest) -> String {
    let EscapeTest {
        what,
        outcome,
        denied_by,
    } = attempt;
    match (outcome, denied_by) {
        (_, Some(layer)) if attempt.was_denied() => format!("denied: {what} ({})\n", layer.name()),
        (Ok(()), Some(layer)) => format!("POSSIBLE, though there is {}: {what}\n", layer.name()),
        (Err(error), Some(_)) => format!("UNCLEAR: {what}: {error}\n"),
        (Ok(()), None) => format!("possible: {what}\n"),
        (Err(error), None) => format!("failed: {what}: {error}\n"),
    }
}

/// A directory for the attempt to write a file. TMPDIR may not exist in a container.
fn writable_directory() -> PathBuf {
    let candidates = [env::temp_dir(), PathBuf::from("/tmp")];
    let existing = candidates.into_iter().find(|directory| directory.is_dir());
    existing.unwrap_or_else(|| PathBuf::from("/"))
}
