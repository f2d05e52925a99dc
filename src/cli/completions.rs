//! `aegis completions`: what a shell reads to complete commands and flags.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use clap_complete::Generator;
use clap_complete::shells;

use super::{NAME, definition, say_bytes};

#[derive(Args, Debug)]
pub(super) struct Completions {
    /// Shell to write them for
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
            Shell::Bash => written(shells::Bash),
            Shell::Elvish => written(shells::Elvish),
            Shell::Fish => written(shells::Fish),
            Shell::Zsh => written(shells::Zsh),
        }
    }
}

fn written(shell: impl Generator) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), NAME, &mut script);
    say_bytes(&script, ExitCode::SUCCESS)
}
