//! The admin socket: plain HTTP on a Unix socket, for whoever its file's mode lets in.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{self, SocketAddrUnix};
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::config::{AdminSocket, Fault};
use crate::gate::Endpoint;
use crate::listen::reap;
use crate::scrape;
use crate::unix_socket::{Closer, NewSocket, Passing, PeerStream};

/// The bound socket. Its file is left behind, for the next start to replace: a process that
/// could remove it could remove the sockets beside it.
#[derive(Debug)]
pub(crate) struct AdminListener {
    /// Left to the end of the process: in what waits to be accepted, something that is slow to close
    /// may have been passed.
    listener: ManuallyDrop<UnixListener>,
    passing: Passing,
    places: Arc<Semaphore>,
}

impl AdminListener {
    /// Binds the socket, in place of one that nobody listens on any more.
    ///
    /// # Errors
    /// It cannot be bound, or somebody listens there.
    pub(crate) fn bind(socket: &AdminSocket) -> Result<Self, Fault> {
        let path = &socket.path.value;
        match bind(path, socket.mode) {
            Ok((listener, passing)) => {
                info!(admin_socket = %path.display(), mode = %format_args!("{:04o}", socket.mode), "the operator can ask here");
                Ok(Self {
                    listener: ManuallyDrop::new(listener),
                    passing,
                    places: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
                })
            }
            Err(error) => {
                let is = |kind| error.kind() == kind;
                let remedy = if is(io::ErrorKind::AddrInUse) {
                    "; another aegis answers there: stop it, or name another path"
                } else if is(io::ErrorKind::PermissionDenied) {
                    "; let aegis's user write in its folder"
                } else {
                    ""
                };
                let problem = format!("{} cannot be listened on: {error}{remedy}", path.display());
                Err(Fault::new(&socket.path.origin, "admin_socket", problem))
            }
        }
    }
}

impl AdminListener {
    /// Accepts a connection, once there is a place for it.
    async fn accept(&self, closer: &Arc<Closer>) -> io::Result<PeerStream<OwnedSemaphorePermit>> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        PeerStream::new(stream, place, self.passing, closer)
    }
}

/// Looks for what is wrong with the path as it is configured, without binding it.
///
/// # Errors
/// No socket can be bound there by any process.
pub(crate) fn look(socket: &AdminSocket) -> Result<(), Fault> {
    let path = &socket.path.value;
    let said = path.display();
    let problem = if let Some(most) = too_long(path) {
        format!("{said} is too long for a socket; at most {most} bytes fit here")
    } else if !folder(path).is_dir() {
        let folder = folder(path).display();
        format!("{said} cannot be made: {folder} is no directory; create it for aegis's user")
    } else if is_taken(path) {
        format!("{said} is there, and is no socket; remove it, or name another path")
    } else {
        return Ok(());
    };
    Err(Fault::new(&socket.path.origin, "admin_socket", problem))
}

/// Says if the folder is one that the unit of aegis may make when it starts (`RuntimeDirectory=`).
pub(crate) fn awaits_its_unit(socket: &AdminSocket) -> Option<String> {
    let path = &socket.path.value;
    (path.starts_with("/run") && !folder(path).exists()).then(|| {
        format!(
            "admin_socket: {} is not there now; its unit must make it, as those of aegis do (RuntimeDirectory=aegis/admin)",
            folder(path).display()
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

/// The most bytes that a path like this one may have, if it has more.
fn too_long(path: &Path) -> Option<usize> {
    let length = |path: &Path| path.as_os_str().len();
    let longest = length(path).max(length(&beside(path, HIGHEST_PROCESS)));
    let over = longest.checked_sub(LONGEST_PATH).filter(|over| *over > 0)?;
    length(path).checked_sub(over)
}

/// Linux `sun_path` is 108 bytes with its NUL (unix(7)).
pub(crate) const LONGEST_PATH: usize = 107;

/// The highest number that a process can have (`/proc/sys/kernel/pid_max` in proc(5)): what binds
/// today must bind after the next start, too.
const HIGHEST_PROCESS: u32 = 1 << 22;

fn is_taken(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket())
}

/// Where the socket is until it is listened on.
fn beside(path: &Path, process: u32) -> PathBuf {
    path.with_extension(format!("{process}.new"))
}

/// Binds beside the path, sets the mode, and only then listens and renames: nobody can connect
/// before, and the path always names a socket that answers.
fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, Passing)> {
    if let Ok(there) = fs::symlink_metadata(path) {
        // Since it was looked at.
        if !there.file_type().is_socket() {
            return Err(io::Error::other("what is there is no socket; remove it"));
        }
        match connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            // Another aegis is there, if with a full queue.
            Ok(_) | Err(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let beside = beside(path, std::process::id());
    // Left by one that was killed: in a container, every process has the same number.
    drop(fs::remove_file(&beside));
    let NewSocket { socket, passing } = NewSocket::open()?;
    net::bind(&socket, &SocketAddrUnix::new(&beside)?)?;
    let listening = fs::set_permissions(&beside, Permissions::from_mode(mode))
        .and_then(|()| Ok(net::listen(&socket, BACKLOG)?))
        .and_then(|()| fs::rename(&beside, path));
    if let Err(error) = listening {
        drop(fs::remove_file(&beside));
        return Err(error);
    }
    Ok((UnixListener::from_std(socket.into())?, passing))
}

/// Connects without waiting: a full queue is an error (connect(2), EAGAIN).
pub(crate) fn connect(socket: &Path) -> io::Result<UnixStream> {
    let NewSocket { socket: stream, .. } = NewSocket::open()?;
    #[expect(clippy::disallowed_methods, reason = "connects to aegis itself")]
    net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
    Ok(stream.into())
}

/// Serves the admin socket for ever, if there is one.
pub(crate) async fn serve(admin: Option<&AdminListener>, endpoint: &Arc<Endpoint>) -> Infallible {
    let Some(listener) = admin else {
        return std::future::pending().await;
    };
    let mut connections = JoinSet::new();
    loop {
        let gate = endpoint.gate();
        tokio::select! {
            Some(ended) = connections.join_next() => reap(&endpoint.metrics, ended),
            accepted = listener.accept(gate.upstream.closer()) => match accepted {
                Ok(stream) => {
                    connections.spawn(scrape::operator(stream, Arc::clone(endpoint)));
                }
                Err(error) => {
                    warn!(%error, "a connection on the admin socket could not be accepted");
                    sleep(PAUSE).await;
                }
            },
        }
    }
}

/// More than are served at once.
const BACKLOG: i32 = 64;
/// A probe, a person and a script are three.
const MOST_CONNECTIONS: usize = 16;
const PAUSE: Duration = Duration::from_secs(1);
