//! `aegis sandbox`: enters the sandbox of serve, and tries to get out of it.

use std::process::ExitCode;

use super::flags::Flags;
use super::{complain, say};
use crate::config::{Config, Overrides};
use crate::gate::Gate;
use crate::run::Ended;
use crate::sandbox::{self, Attempt, Paths};

/// Says what was tried, what became of it, and whether what must still work does.
pub(super) fn sandbox(flags: Flags) -> ExitCode {
    let overrides = Overrides::from(flags);
    let config = match Config::load(&overrides) {
        Ok(config) => config,
        Err(faults) => return complain(&Ended::Configuration(faults)),
    };
    let paths = Paths::of(&config, Config::file(&overrides));
    let tried = sandbox::attempts(config.sandbox, &paths, &std::env::temp_dir());
    let (walls, attempts) = match tried {
        Ok(tried) => tried,
        Err(error) => return complain(&Ended::System(error)),
    };
    let mut report: String = walls.missing().map(|missing| missing + "\n").collect();
    let mut is_good = true;
    for attempt in &attempts {
        is_good &= attempt.is_as_it_must_be();
        report.push_str(&line(attempt));
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
    match is_good {
        true => say(&report, ExitCode::SUCCESS),
        false => say(&report, ExitCode::FAILURE),
    }
}

fn line(attempt: &Attempt) -> String {
    let Attempt {
        what,
        became,
        denied_by,
    } = attempt;
    match (became, denied_by) {
        (_, Some(wall)) if attempt.was_denied() => format!("denied: {what} ({})\n", wall.name()),
        (Ok(()), Some(wall)) => format!("POSSIBLE, though there is {}: {what}\n", wall.name()),
        (Err(error), Some(_)) => format!("UNCLEAR: {what}: {error}\n"),
        (Ok(()), None) => format!("possible: {what}\n"),
        (Err(error), None) => format!("failed: {what}: {error}\n"),
    }
}
