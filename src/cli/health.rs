//! `aegis health`: asks a running aegis on its admin socket. For containers and scripts.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::flags::Flags;
use super::{complain, say};
use crate::admin;
use crate::config::Config;
use crate::run::Ended;
use crate::view::View;

#[derive(Args, Debug)]
pub(super) struct Health {
    /// Ask whether scrapes can succeed, rather than only whether it answers
    #[arg(long)]
    ready: bool,

    #[command(flatten)]
    flags: Flags,
}

impl Health {
    pub(super) fn run(self) -> ExitCode {
        let view = match self.ready {
            true => View::Ready,
            false => View::Healthy,
        };
        let socket = match Config::admin_socket(&self.flags.into()) {
            Ok(Some(socket)) => socket,
            Ok(None) => {
                let problem =
                    "no admin socket is configured; set admin_socket, or give --admin-socket";
                return unwell(problem);
            }
            Err(faults) => return complain(&Ended::Configuration(faults)),
        };
        if socket.as_os_str().len() > admin::LONGEST_PATH {
            let (socket, most) = (socket.display(), admin::LONGEST_PATH);
            return unwell(&format!(
                "{socket} is too long for a socket; at most {most} bytes fit"
            ));
        }
        match ask(&socket, view) {
            Ok(answer) => said(&answer),
            Err(error) => unwell(&format!("{} does not answer: {error}", socket.display())),
        }
    }
}

/// Asks, and reads the answer to its end. Root may ask, and what answers is in the hands of aegis's
/// user: it has one deadline, and no control character of it reaches a terminal.
fn ask(socket: &Path, view: View) -> io::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = admin::connect(socket)?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let path = view.path();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    let mut bytes = [0; 512];
    while answer.len() < LONGEST_ANSWER {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut bytes)? {
            0 => break,
            count => answer.extend(bytes.iter().take(count)),
        }
    }
    let is_plain = |character: &char| !character.is_control() || matches!(character, '\r' | '\n');
    Ok(String::from_utf8_lossy(&answer)
        .chars()
        .filter(is_plain)
        .collect())
}

fn said(answer: &str) -> ExitCode {
    let Some((head, text)) = answer.split_once("\r\n\r\n") else {
        return unwell("aegis closed the connection without an answer; it is ending, or too busy");
    };
    match head.starts_with("HTTP/1.1 200 ") {
        true => say(text, ExitCode::SUCCESS),
        false => unwell(text.trim_end()),
    }
}

fn unwell(problem: &str) -> ExitCode {
    drop(writeln!(io::stderr(), "aegis: {problem}"));
    ExitCode::FAILURE
}

/// Shorter than the patience of whoever runs the probe.
const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_ANSWER: usize = 4096;
