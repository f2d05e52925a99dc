//! `aegis man`: the manual page. Commands and flags come from their parser's definition, refusals
//! from their table, and the configuration from the shipped file.

use std::io;
use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::{NAME, definition, print_bytes, report_error};
use crate::refusal::Refusal;
use crate::server::run::ServeError;

pub(super) fn man() -> ExitCode {
    match page() {
        Ok(page) => print_bytes(&page, ExitCode::SUCCESS),
        Err(error) => report_error(&ServeError::System(error)),
    }
}

fn page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    // Without a date, so that builds are reproducible; an empty one would put the version there.
    let aegis = Man::new(definition())
        .title("AEGIS")
        .date(" ")
        .manual("aegis");
    aegis.render_title(&mut page)?;
    aegis.render_name_section(&mut page)?;
    page.extend(SYNOPSIS_AND_DESCRIPTION.as_bytes());
    let commands: Vec<Command> = definition().get_subcommands().cloned().collect();
    listed(&commands).to_writer(&mut page)?;
    for command in &commands {
        Man::new(own_options(command, &commands)).render_options_section(&mut page)?;
    }
    page.extend(FROM_ENVIRONMENT_TO_EXIT_STATUS.as_bytes());
    refusals().to_writer(&mut page)?;
    configuration().to_writer(&mut page)?;
    page.extend(SEE_ALSO.as_bytes());
    Ok(page)
}

/// The commands with their descriptions.
fn listed(commands: &[Command]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in commands {
        let about = command.get_about().map(ToString::to_string);
        let name = command.get_name();
        entry(
            &mut roff,
            [bold(format!("{NAME} {name}"))],
            &about.unwrap_or_default(),
        );
    }
    roff
}

/// The options of a command. Those of the configuration are shown once, under the first command,
/// which has no others.
fn own_options(command: &Command, commands: &[Command]) -> Command {
    let shared = commands
        .first()
        .filter(|first| first.get_name() != command.get_name());
    let is_shared = |id: &clap::Id| {
        shared.is_some_and(|first| {
            first
                .get_arguments()
                .any(|argument| argument.get_id() == id)
        })
    };
    let heading = match shared {
        Some(_) => format!("Options of {}", command.get_name()),
        None => "Options of every command that reads the configuration".to_owned(),
    };
    let own = command.clone().disable_help_flag(true);
    own.mut_args(|argument| {
        if is_shared(argument.get_id()) {
            argument.hide(true)
        } else {
            argument.help_heading(heading.clone())
        }
    })
}

/// Every refusal by its name in logs and metrics, with its remedy.
fn refusals() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["DIAGNOSTICS"]);
    roff.text([roman(
        "Every refusal has one reason, which the log and the metrics show.",
    )]);
    for refusal in Refusal::ALL {
        let (stage, reason) = (refusal.stage().name(), refusal.reason());
        let names = [
            roman("stage="),
            bold(stage),
            roman(" reason="),
            bold(reason),
        ];
        entry(
            &mut roff,
            names,
            &format!("{refusal}. {}", refusal.remedy()),
        );
    }
    roff
}

/// The shipped configuration with its comments.
fn configuration() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["CONFIGURATION"]);
    roff.text([roman(
        "TOML. Every key, with its default where it has one, or an example:",
    )]);
    roff.control("PP", []).control("nf", []);
    for line in CONFIGURATION.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff
}

fn entry(roff: &mut Roff, names: impl Into<Vec<Inline>>, text: &str) {
    roff.control("TP", []).text(names);
    roff.text([roman(text)]);
}

const CONFIGURATION: &str = include_str!("../../deploy/aegis.toml");
const SYNOPSIS_AND_DESCRIPTION: &str = include_str!("man/description.roff");
const FROM_ENVIRONMENT_TO_EXIT_STATUS: &str = include_str!("man/operation.roff");
const SEE_ALSO: &str = include_str!("man/see_also.roff");
