//! Sends a request to a running aegis over its admin socket.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::flags::Flags;
use super::{failure, report_error};
use crate::admin;
use crate::config::{Config, Overrides};
use crate::server::run::ServeError;

/// What aegis answered.
#[derive(Debug)]
pub(super) struct AdminResponse {
    /// Whether its status is 200.
    pub(super) is_success: bool,
    pub(super) text: String,
}

/// A request on the admin socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdminRequest<'a> {
    pub(super) method: &'static str,
    pub(super) target: &'a str,
    /// The limit for the whole answer.
    pub(super) timeout: Duration,
}

/// The end of `--help` for each command that asks a running aegis.
pub(super) const HELP: &str = "\
Asks a running aegis on its admin socket: --admin-socket, else admin_socket of the configuration.
Exit codes: 0 success, 1 aegis does not answer, or answers that it did not do so or is not
healthy, 2 usage, 78 the configuration cannot be read.";

/// Sends a request to the admin socket of these flags, or of the configuration. A failure is printed.
///
/// # Errors
/// The exit code.
pub(super) fn send(flags: Flags, request: AdminRequest<'_>) -> Result<AdminResponse, ExitCode> {
    let socket = socket(&flags.into())?;
    match exchange(&socket, request) {
        Ok(Some(response)) => Ok(response),
        Ok(None) => Err(failure(
            "aegis closed the connection without an answer; it is shutting down or overloaded",
        )),
        Err(error) => Err(failure(&unanswered(&socket, &error))),
    }
}

/// Why the admin socket does not answer, and what to do.
fn unanswered(socket: &Path, error: &io::Error) -> String {
    let socket = socket.display();
    let none = |why| {
        format!(
            "no aegis answers on {socket} ({why}): is it running, with this admin_socket? See systemctl status aegis"
        )
    };
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => none("No such file or directory"),
        Some(Errno::CONNREFUSED) => none("Connection refused"),
        Some(Errno::ACCESS | Errno::PERM) => format!(
            "{socket} cannot be opened (Permission denied): run this as root or as a user of its group"
        ),
        _ => format!("{socket} does not answer: {error}"),
    }
}

fn socket(overrides: &Overrides) -> Result<PathBuf, ExitCode> {
    let socket = match Config::admin_socket(overrides) {
        Ok(Some(socket)) => socket,
        Ok(None) => return Err(failure(&unconfigured(Config::file(overrides)))),
        Err(faults) => return Err(report_error(&ServeError::Configuration(faults))),
    };
    if socket.as_os_str().len() > admin::MAX_PATH_BYTES {
        let (socket, most) = (socket.display(), admin::MAX_PATH_BYTES);
        return Err(failure(&format!(
            "{socket} is too long for a socket; the maximum is {most} bytes"
        )));
    }
    Ok(socket)
}

/// What to write into a configuration without an admin socket.
fn unconfigured(file: &Path) -> String {
    let found = if file.exists() {
        "sets none"
    } else {
        "does not exist"
    };
    let file = file.display();
    format!(
        "no admin socket is configured: {file} {found}; write admin_socket = \"/run/aegis/admin/admin.sock\" at its top and restart aegis, or give --admin-socket"
    )
}

/// Sends the request and reads the whole answer. The caller may be root, and aegis's user controls
/// the answer: it has one deadline, and no control character in it reaches a terminal.
fn exchange(socket: &Path, request: AdminRequest<'_>) -> io::Result<Option<AdminResponse>> {
    let AdminRequest {
        method,
        target,
        timeout,
    } = request;
    let deadline = Instant::now() + timeout;
    let mut stream = admin::connect(socket)?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(timeout))?;
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    while answer.len() < MAX_ANSWER_BYTES {
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
    let answer: String = String::from_utf8_lossy(&answer)
        .chars()
        .filter(is_plain)
        .collect();
    Ok(answer
        .split_once("\r\n\r\n")
        .map(|(head, text)| AdminResponse {
            is_success: head.starts_with("HTTP/1.1 200 "),
            text: text.to_owned(),
        }))
}

/// A status of a thousand services has about 700 KiB.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
