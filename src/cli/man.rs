//! `aegis man`: the manual page. Commands and flags come from the definition that parses them,
//! refusals and configuration from what they are elsewhere.

use std::io;
use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::{NAME, complain, definition, say_bytes};
use crate::refusal::Refusal;
use crate::run::Ended;

pub(super) fn man() -> ExitCode {
    match page() {
        Ok(page) => say_bytes(&page, ExitCode::SUCCESS),
        Err(error) => complain(&Ended::System(error)),
    }
}

fn page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    // Of no date, so that one source gives one page; an empty one would move the version there.
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

/// The commands, each with what it does.
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

/// What a command takes beyond the flags of the configuration. Those stand once, with the first
/// command, which takes nothing else.
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
    own.mut_args(|argument| match is_shared(argument.get_id()) {
        true => argument.hide(true),
        false => argument.help_heading(heading.clone()),
    })
}

/// Every refusal, as logs and metrics name it, with what to do.
fn refusals() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["DIAGNOSTICS"]);
    roff.text([roman(
        "Every refusal has one reason, which stands in the log and in the metrics.",
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

/// The configuration that is shipped, which explains itself.
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

fn entry(roff: &mut Roff, names: impl Into<Vec<Inline>>, said: &str) {
    roff.control("TP", []).text(names);
    roff.text([roman(said)]);
}

const CONFIGURATION: &str = include_str!("../../deploy/aegis.toml");
const SYNOPSIS_AND_DESCRIPTION: &str = include_str!("man/description.roff");
const FROM_ENVIRONMENT_TO_EXIT_STATUS: &str = include_str!("man/operation.roff");
const SEE_ALSO: &str = include_str!("man/see_also.roff");
