//! Sends a request to a running aegis over its admin socket.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::flags::Flags;
use super::{failure, report_error};
use crate::admin;
use crate::config::Config;
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

/// Sends a request to the admin socket of these flags, or of the configuration. A failure is printed.
///
/// # Errors
/// The exit code.
pub(super) fn send(flags: Flags, request: AdminRequest<'_>) -> Result<AdminResponse, ExitCode> {
    let socket = socket(flags)?;
    match exchange(&socket, request) {
        Ok(Some(response)) => Ok(response),
        Ok(None) => Err(failure(
            "aegis closed the connection without an answer; it is shutting down or overloaded",
        )),
        Err(error) => {
            let socket = socket.display();
            Err(failure(&format!("{socket} does not answer: {error}")))
        }
    }
}

fn socket(flags: Flags) -> Result<PathBuf, ExitCode> {
    let socket = match Config::admin_socket(&flags.into()) {
        Ok(Some(socket)) => socket,
        Ok(None) => {
            return Err(failure(
                "no admin socket is configured; set admin_socket, or give --admin-socket",
            ));
        }
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
