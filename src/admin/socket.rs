//! Binds the admin socket, replacing a stale one, and accepts its connections.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::net::{self, SocketAddrUnix};
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use super::requests;
use crate::config::{AdminSocket, ConfigError};
use crate::io::unix_socket::{Closer, NewSocket, Passing, PeerStream, Registered};
use crate::state::State;

/// The bound socket. Its file stays when aegis exits, and the next start replaces it: a sandbox that
/// allowed its removal would also allow the removal of other sockets in its directory.
#[derive(Debug)]
pub(crate) struct AdminListener {
    /// Never closed: a connection in its queue may carry a passed descriptor that is slow to close.
    listener: ManuallyDrop<UnixListener>,
    passing: Passing,
    permits: Arc<Semaphore>,
}

impl AdminListener {
    /// Binds the socket, replacing a stale one.
    ///
    /// # Errors
    /// It cannot be bound, or another process listens there.
    pub(crate) fn bind(socket: &AdminSocket) -> Result<Self, ConfigError> {
        let path = &socket.path.value;
        match bind(path, socket.mode) {
            Ok((listener, passing)) => {
                info!(admin_socket = %path.display(), mode = %format_args!("{:04o}", socket.mode), "admin socket listening");
                Ok(Self {
                    listener: ManuallyDrop::new(listener),
                    passing,
                    permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
                })
            }
            Err(error) => {
                let is = |kind| error.kind() == kind;
                let remedy = if is(io::ErrorKind::AddrInUse) {
                    "; another aegis is listening there: stop it or use another path"
                } else if is(io::ErrorKind::PermissionDenied) {
                    "; make its directory writable for aegis's user"
                } else {
                    ""
                };
                let problem = format!("{} cannot be listened on: {error}{remedy}", path.display());
                Err(ConfigError::new(
                    &socket.path.origin,
                    "admin_socket",
                    problem,
                ))
            }
        }
    }
}

impl AdminListener {
    /// Accepts a connection once a permit is free.
    async fn accept(&self, closer: &Arc<Closer>) -> io::Result<PeerStream<OwnedSemaphorePermit>> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        PeerStream::new(Registered::ReadWrite(stream), permit, self.passing, closer)
    }
}

/// Checks the configured path without binding it.
///
/// # Errors
/// No process can bind a socket there.
pub(crate) fn check_path(socket: &AdminSocket) -> Result<(), ConfigError> {
    let path = &socket.path.value;
    let shown = path.display();
    let problem = if let Some(max) = max_length_if_exceeded(path) {
        format!("{shown} is too long for a socket; the maximum is {max} bytes")
    } else if !folder(path).is_dir() {
        let folder = folder(path).display();
        format!(
            "{shown} cannot be created: {folder} is not a directory; create it for aegis's user"
        )
    } else if is_other_file(path) {
        format!("{shown} exists and is not a socket; remove it or use another path")
    } else {
        return Ok(());
    };
    Err(ConfigError::new(
        &socket.path.origin,
        "admin_socket",
        problem,
    ))
}

/// A warning if the directory is missing now and the unit may create it at the start
/// (`RuntimeDirectory=`).
pub(crate) fn awaits_runtime_directory(socket: &AdminSocket) -> Option<String> {
    let path = &socket.path.value;
    (path.starts_with("/run") && !folder(path).exists()).then(|| {
        format!(
            "admin_socket: {} does not exist yet; the unit must create it (RuntimeDirectory=aegis/admin)",
            folder(path).display()
        )
    })
}

/// A warning if this user may not create the socket in its directory.
pub(crate) fn not_creatable(socket: &AdminSocket) -> Option<String> {
    let folder = folder(&socket.path.value);
    let needed = Access::WRITE_OK | Access::EXEC_OK;
    let allowed = accessat(CWD, folder, needed, AtFlags::EACCESS);
    // check_path reports a missing directory.
    matches!(allowed, Err(Errno::ACCESS | Errno::ROFS)).then(|| {
        format!(
            "admin_socket: aegis's user may not create files in {}; use the RuntimeDirectory= of the unit, such as /run/aegis/admin",
            folder.display()
        )
    })
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(here) if here.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}

/// The number of bytes that the path may have, if it has more.
fn max_length_if_exceeded(path: &Path) -> Option<usize> {
    let length = |path: &Path| path.as_os_str().len();
    let longest = length(path).max(length(&temporary(path, MAX_PID)));
    let excess = longest
        .checked_sub(MAX_PATH_BYTES)
        .filter(|excess| *excess > 0)?;
    length(path).checked_sub(excess)
}

/// Linux `sun_path` is 108 bytes with its NUL (unix(7)).
pub(crate) const MAX_PATH_BYTES: usize = 107;

/// The highest process number (`/proc/sys/kernel/pid_max` in proc(5)). It is part of the temporary
/// path, and a path that binds today must bind after every start.
const MAX_PID: u32 = 1 << 22;

fn is_other_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket())
}

/// The path of the socket until it listens.
fn temporary(path: &Path, process: u32) -> PathBuf {
    path.with_extension(format!("{process}.new"))
}

/// Binds a temporary path, sets the mode, listens, and renames it last: no client can connect before
/// the mode is set, and the path always names a socket that answers.
fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, Passing)> {
    if let Ok(found) = fs::symlink_metadata(path) {
        // It may have been created after `check_path`.
        if !found.file_type().is_socket() {
            return Err(io::Error::other(
                "the path exists and is not a socket; remove it",
            ));
        }
        match connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            // Another aegis listens there. WouldBlock means that its queue is full.
            Ok(_) | Err(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let temporary = temporary(path, std::process::id());
    // A killed aegis may have left it: in a container, every start has the same process number.
    drop(fs::remove_file(&temporary));
    let NewSocket { socket, passing } = NewSocket::open()?;
    net::bind(&socket, &SocketAddrUnix::new(&temporary)?)?;
    let listening = fs::set_permissions(&temporary, Permissions::from_mode(mode))
        .and_then(|()| Ok(net::listen(&socket, BACKLOG)?))
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = listening {
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    Ok((UnixListener::from_std(socket.into())?, passing))
}

/// Connects without blocking: a full queue is an error (connect(2), EAGAIN).
pub(crate) fn connect(socket: &Path) -> io::Result<UnixStream> {
    let NewSocket { socket: stream, .. } = NewSocket::open()?;
    #[expect(clippy::disallowed_methods, reason = "connects to aegis itself")]
    net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
    Ok(stream.into())
}

/// Serves the admin socket forever, if there is one.
pub(crate) async fn serve(admin: Option<&AdminListener>, state: &Arc<State>) -> Infallible {
    let Some(listener) = admin else {
        return std::future::pending().await;
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = connections.join_next() => state.recorder.log_task_panic(ended),
            accepted = listener.accept(state.services().closer()) => match accepted {
                Ok(stream) => {
                    connections.spawn(requests::serve(stream, Arc::clone(state)));
                }
                Err(error) => {
                    warn!(%error, "accept on the admin socket failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// More than `MAX_CONNECTIONS`.
const BACKLOG: i32 = 64;
/// A probe, a person and a script need three.
const MAX_CONNECTIONS: usize = 16;
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
