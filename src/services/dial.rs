//! Connects to an open, checked socket.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{self, Access, AtFlags, StatxFlags};
use rustix::io::Errno;
use rustix::net::{self, SocketAddrUnix};
use tokio::time::{Instant, sleep};

use crate::io::files::{FileThreads, OneThread};
use crate::io::unix_socket::{NewSocket, Passing, Registered};
use crate::refusal::{Refusal, Refused};

/// A service's socket after every check that needs no connection.
#[derive(Debug)]
pub(crate) struct OpenSocket {
    pub(super) descriptor: OwnedFd,
    /// The thread to connect on, if that can block.
    pub(super) thread: Option<(Arc<FileThreads>, OneThread)>,
}

/// Connects to the socket of a descriptor.
///
/// # Errors
/// [`Refusal::Permission`] or [`Refusal::Connect`].
pub(crate) async fn dial(
    socket: OpenSocket,
    deadline: Instant,
) -> Result<(Registered, Passing), Refused> {
    let OpenSocket { descriptor, thread } = socket;
    // It must stay open on a blocked thread, even after the scrape has timed out.
    let socket = Arc::new(descriptor);
    let mut pause = MIN_RETRY_DELAY;
    loop {
        let connected = match &thread {
            None => connect_now(&socket),
            Some((files, of_directory)) => {
                let socket = Arc::clone(&socket);
                let connected = files.run(of_directory, move || connect_now(&socket));
                connected.await.and_then(|connected| connected)
            }
        };
        match connected.and_then(NewSocket::into_stream) {
            Ok(connected) => return Ok(connected),
            // A full backlog returns EAGAIN at once (connect(2)), without any later notification.
            // A service that accepts slowly is not dead.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() + pause >= deadline {
                    return Err(Refused::new(Refusal::Connect, "its backlog stayed full"));
                }
                sleep(pause).await;
                pause = (pause * 2).min(MAX_RETRY_DELAY);
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(not_permitted(&error, &socket));
            }
            Err(error) => return Err(Refused::new(Refusal::Connect, error)),
        }
    }
}

/// Checks whether this process may connect to a socket, without connecting to it.
///
/// # Errors
/// [`Refusal::Permission`].
pub(super) fn check_permission(socket: &OwnedFd) -> Result<(), Refused> {
    // Connecting needs write access to the file (unix(7)).
    match fs::accessat(
        fs::CWD,
        by_descriptor(socket),
        Access::WRITE_OK,
        AtFlags::EACCESS,
    ) {
        Err(error @ Errno::ACCESS) => Err(not_permitted(&error.into(), socket)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn not_permitted(error: &io::Error, socket: &OwnedFd) -> Refused {
    let detail = format_args!("{error}: {}", permission_detail(socket));
    Refused::new(Refusal::Permission, detail)
}

/// Who aegis is, who may connect to the socket, and what to change. Uses cached attributes, so that
/// it does not block.
fn permission_detail(socket: &OwnedFd) -> String {
    let ours = rustix::process::geteuid().as_raw();
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    match fs::statx(socket, "", flags, StatxFlags::BASIC_STATS) {
        Ok(found) => format!(
            "aegis runs as uid {ours}; the socket belongs to uid {}, gid {}, with mode {:04o}; give a group of aegis write access to it",
            found.stx_uid,
            found.stx_gid,
            found.stx_mode & 0o7777
        ),
        Err(error) => format!("aegis runs as uid {ours}; the socket cannot be examined: {error}"),
    }
}

/// Connects without waiting: a Unix socket connects at once or fails (unix(7)).
fn connect_now(socket: &OwnedFd) -> io::Result<NewSocket> {
    let connection = NewSocket::open()?;
    let path = by_descriptor(socket);
    #[expect(clippy::disallowed_methods, reason = "the one place that connects")]
    net::connect(&connection.socket, &SocketAddrUnix::new(path)?)?;
    Ok(connection)
}

const MIN_RETRY_DELAY: Duration = Duration::from_millis(1);
const MAX_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The process's own descriptors as paths. Connecting to one reaches the socket of the descriptor,
/// even if its name now belongs to another. It also avoids the 108 bytes limit of `sun_path`.
pub(super) const DESCRIPTORS: &str = "/proc/self/fd";

/// Whether it is the working directory.
static WORKS_IN_DESCRIPTORS: AtomicBool = AtomicBool::new(false);

/// Makes it the working directory permanently. Paths of descriptors are then shorter than any network
/// address, so that the sandbox can deny connects with longer addresses.
pub(crate) fn work_in_descriptors() -> io::Result<()> {
    rustix::process::chdir(DESCRIPTORS)?;
    WORKS_IN_DESCRIPTORS.store(true, Ordering::Release);
    Ok(())
}

fn by_descriptor(socket: &OwnedFd) -> String {
    let number = socket.as_raw_fd();
    if WORKS_IN_DESCRIPTORS.load(Ordering::Acquire) {
        number.to_string()
    } else {
        format!("{DESCRIPTORS}/{number}")
    }
}
