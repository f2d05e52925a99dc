//! `aegis completions`: prints a completion script for a shell.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use clap_complete::Generator;
use clap_complete::shells;

use super::{NAME, definition, print_bytes};

#[derive(Args, Debug)]
pub(super) struct Completions {
    /// Shell to print the script for
    shell: Shell,
}

/// The shells of this platform.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Zsh,
}

impl Completions {
    pub(super) fn run(self) -> ExitCode {
        match self.shell {
            Shell::Bash => print_script(shells::Bash),
            Shell::Elvish => print_script(shells::Elvish),
            Shell::Fish => print_script(shells::Fish),
            Shell::Zsh => print_script(shells::Zsh),
        }
    }
}

fn print_script(shell: impl Generator) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), NAME, &mut script);
    print_bytes(&script, ExitCode::SUCCESS)
}
