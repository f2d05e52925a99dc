//! The `aegis` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    aegis::cli::main(std::env::args_os())
}
