//! The command line: what each command prints, and how it exits.

mod admin_client;
mod as_user;
mod check;
mod completions;
mod explain;
mod flags;
mod health;
mod man;
mod operate;
mod sandbox;
mod services;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::policy::service_name::{InvalidServiceName, ServiceName};
use crate::refusal::Refused;
use crate::server::run::{self, ServeError};
use crate::telemetry::log::error_priority;
use crate::text::escaped::{discreet, visible};
use crate::text::pem;
use flags::Flags;

/// Runs a command line, its program name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if flags::is_legacy_invocation(&arguments) {
        return usage_error(&flags::LEGACY_FLAGS);
    }
    // Before the flags are parsed: the parser repeats arguments that it does not know.
    let mut texts = arguments.iter().map(|argument| argument.to_string_lossy());
    if texts.any(|text| pem::is_pasted(&text)) {
        return usage_error(&format_args!("an argument {}", pem::PASTED));
    }
    let begins_with_a_flag = starts_with_a_flag(&arguments);
    let command = match Aegis::try_parse_from(arguments) {
        Ok(aegis) => aegis.command,
        Err(error) => {
            let text = error.render().to_string();
            // It repeats arguments that it does not know.
            drop(match discreet(&text) {
                visible if visible == text => error.print(),
                visible => io::stderr().write_all(visible.as_bytes()),
            });
            if begins_with_a_flag && error.kind() == ErrorKind::UnknownArgument {
                print_error("flags come after a command, as in aegis serve --config FILE");
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match command {
        Command::Serve(flags) => match run::serve(&flags.into()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(ended) => report_error(&ended),
        },
        Command::Check(check) => check.run(),
        Command::Explain(question) => explain::explain(question),
        Command::Services(which) => services::services(which),
        Command::Sandbox(flags) => sandbox::sandbox(flags),
        Command::Status(status) => status.run(),
        Command::Reload(reload) => reload.run(),
        Command::Forget(forget) => forget.run(),
        Command::Health(health) => health.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man => man::man(),
    }
}

/// Whether the first argument is a flag, where the command must be.
fn starts_with_a_flag(arguments: &[OsString]) -> bool {
    let first = arguments.get(1).and_then(|first| first.to_str());
    first.is_some_and(|first| first.starts_with('-'))
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
Exit codes: 0 success, 1 runtime failure, refused, unhealthy or failed probe, 2 usage,
78 configuration (every error is printed).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then finish the scrapes in flight
    Serve(Flags),
    /// Check the configuration and its files as serve would, and print every error
    Check(check::Check),
    /// Explain whether a scrape would be allowed, and which entry or stage decides it
    Explain(explain::Question),
    /// List the available services and the entries that grant them
    Services(services::Which),
    /// Self-test the sandbox
    Sandbox(Flags),
    /// Show the services of a running aegis, and what is wrong
    Status(operate::Status),
    /// Reload a running aegis, and print the faults if it fails
    Reload(operate::Reload),
    /// Let a running aegis forget a service whose socket is gone
    Forget(operate::Forget),
    /// Query the health of a running aegis over its admin socket
    Health(health::Health),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Print the manual page, for man(1)
    Man,
}

/// The definition of the command line, for completions and the manual page.
fn definition() -> clap::Command {
    Aegis::command().disable_help_subcommand(true)
}

/// Prints a command's report, and returns its exit code; a failure if it cannot be written.
fn print(report: &str, code: ExitCode) -> ExitCode {
    print_bytes(report.as_bytes(), code)
}

fn print_bytes(report: &[u8], code: ExitCode) -> ExitCode {
    match io::stdout().write_all(report) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Reports an argument that the parser accepts and the command does not.
fn usage_error(problem: &dyn fmt::Display) -> ExitCode {
    print_error(&problem.to_string());
    ExitCode::from(USAGE)
}

/// Formats a refusal for commands.
fn describe(refused: &Refused) -> String {
    let refusal = refused.refusal;
    let (stage, reason) = (refusal.stage().name(), refusal.reason());
    format!("stage={stage} reason={reason}: {refused}")
}

fn print_error(problem: &str) {
    let lines = problem.lines();
    let priority = error_priority();
    let text: String = lines
        .map(|line| format!("{priority}aegis: {}\n", visible(line)))
        .collect();
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Parses the name of a service, for flags.
fn service_name(text: &str) -> Result<ServiceName, String> {
    text.parse()
        .map_err(|error: InvalidServiceName| error.to_string())
}

/// Reports why a command failed.
fn failure(problem: &str) -> ExitCode {
    print_error(problem);
    ExitCode::FAILURE
}

fn report_error(ended: &ServeError) -> ExitCode {
    print_error(&ended.to_string());
    match ended {
        ServeError::Configuration(_) => ExitCode::from(CONFIGURATION),
        ServeError::CutShort | ServeError::System(_) | ServeError::Unbound(_) => ExitCode::FAILURE,
    }
}

const NAME: &str = "aegis";
const USAGE: u8 = 2;
/// `EX_CONFIG` of sysexits(3).
const CONFIGURATION: u8 = 78;
