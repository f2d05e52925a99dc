//! The command line: what each command prints, and how it exits.

mod flags;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Overrides};
use crate::gate::Gate;
use crate::run::{self, Ended};
use flags::Flags;

/// Runs a command line, its program name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Aegis::try_parse_from(arguments) {
        Ok(aegis) => aegis.command,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match command {
        Command::Serve(flags) => match run::serve(&flags.into()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(ended) => complain(&ended),
        },
        Command::Check(flags) => check(&flags.into()),
    }
}

/// Lets Prometheus scrape services that listen only on Unix sockets: over mutual TLS, from
/// addresses you name.
#[derive(Debug, Parser)]
#[command(name = "aegis", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Aegis {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 runtime failure, 2 usage, 78 configuration (every error is printed).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then let scrapes in flight end
    Serve(Flags),
    /// Load and check everything that serve would, and say what is wrong
    Check(Flags),
}

fn check(overrides: &Overrides) -> ExitCode {
    let checked = Config::load(overrides).and_then(|config| {
        let listen = config.listen.clone();
        let socket_dir = config.socket_dir.value.clone();
        Gate::build(config, None).map(|gate| (gate, listen, socket_dir))
    });
    let (gate, listen, socket_dir) = match checked {
        Ok(checked) => checked,
        Err(faults) => return complain(&Ended::Configuration(faults)),
    };
    let mut report = String::new();
    for warning in &gate.warnings {
        report.push_str(&format!("warning: {warning}\n"));
    }
    let listen: Vec<String> = listen.iter().map(|given| given.value.to_string()).collect();
    report.push_str(&format!(
        "ok: would listen on {}, with {} allow entries and {} sockets in {}\n",
        listen.join(" "),
        gate.policy.entries().len(),
        gate.upstream.present(),
        socket_dir.display()
    ));
    match io::stdout().write_all(report.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(ended: &Ended) -> ExitCode {
    let said: String = ended
        .to_string()
        .lines()
        .map(|line| format!("aegis: {line}\n"))
        .collect();
    drop(io::stderr().write_all(said.as_bytes()));
    match ended {
        Ended::Configuration(_) => ExitCode::from(CONFIGURATION),
        Ended::CutShort | Ended::System(_) | Ended::Unbound(_) => ExitCode::FAILURE,
    }
}

const USAGE: u8 = 2;
/// `EX_CONFIG` of sysexits(3).
const CONFIGURATION: u8 = 78;
