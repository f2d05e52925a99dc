//! The command line: what each command prints, and how it exits.

mod check;
mod completions;
mod explain;
mod flags;
mod health;
mod man;
mod sandbox;
mod services;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::refusal::Refused;
use crate::run::{self, Ended};
use flags::Flags;

/// Runs a command line, its program name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if flags::are_of_2021(&arguments) {
        return misused(&flags::SINCE_2021);
    }
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
        Command::Check(check) => check.run(),
        Command::Explain(question) => explain::explain(question),
        Command::Services(which) => services::services(which),
        Command::Sandbox(flags) => sandbox::sandbox(flags),
        Command::Health(health) => health.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man => man::man(),
    }
}

/// Lets Prometheus scrape services that listen only on Unix sockets: over mutual TLS, from
/// addresses you name.
#[derive(Debug, Parser)]
#[command(name = NAME, version, max_term_width = 100, after_help = EXIT_CODES)]
struct Aegis {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 runtime failure, refused, unwell or failed probe, 2 usage,
78 configuration (every error is printed).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then let scrapes in flight end
    Serve(Flags),
    /// Load and check everything that serve would, and say what is wrong
    Check(check::Check),
    /// Say whether a scraper would reach a service, and which entry or stage decides it
    Explain(explain::Question),
    /// List the services that are there now, and whom they are granted to
    Services(services::Which),
    /// Enter the sandbox of serve, and try to get out of it
    Sandbox(Flags),
    /// Ask a running aegis on its admin socket whether it is well
    Health(health::Health),
    /// Write what a shell needs to complete commands and flags
    Completions(completions::Completions),
    /// Write the manual page, for man(1)
    Man,
}

/// What the command line is parsed by, for what is generated from it.
fn definition() -> clap::Command {
    Aegis::command().disable_help_subcommand(true)
}

/// Prints a command's report, and exits with its code unless nobody could read it.
fn say(report: &str, code: ExitCode) -> ExitCode {
    say_bytes(report.as_bytes(), code)
}

fn say_bytes(report: &[u8], code: ExitCode) -> ExitCode {
    match io::stdout().write_all(report) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Complains of an argument that only the command can judge.
fn misused(problem: &dyn fmt::Display) -> ExitCode {
    drop(writeln!(io::stderr(), "aegis: {problem}"));
    ExitCode::from(USAGE)
}

/// A refusal as commands show it.
fn shown(refused: &Refused) -> String {
    let Refused { refusal, detail } = refused;
    let (stage, reason) = (refusal.stage().name(), refusal.reason());
    let detail = detail.as_ref().map(|detail| format!(" ({detail})"));
    let detail = detail.unwrap_or_default();
    format!("stage={stage} reason={reason}: {refusal}{detail}")
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

const NAME: &str = "aegis";
const USAGE: u8 = 2;
/// `EX_CONFIG` of sysexits(3).
const CONFIGURATION: u8 = 78;
