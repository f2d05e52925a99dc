//! The admin socket: plain HTTP on a Unix socket, for whoever its file's mode lets in.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::config::{AdminSocket, Fault};
use crate::gate::Endpoint;
use crate::listen::reap;
use crate::scrape;

/// The bound socket. Its file is left behind, for the next start to replace: a process that
/// could remove it could remove the sockets beside it.
#[derive(Debug)]
pub(crate) struct AdminListener(UnixListener);

impl AdminListener {
    /// Binds the socket, in place of one that nobody listens on any more.
    ///
    /// # Errors
    /// It cannot be bound, or somebody listens there.
    pub(crate) fn bind(socket: &AdminSocket) -> Result<Self, Fault> {
        let path = &socket.path.value;
        match bind(path, socket.mode) {
            Ok(listener) => {
                info!(admin_socket = %path.display(), mode = %format_args!("{:04o}", socket.mode), "the operator can ask here");
                Ok(Self(listener))
            }
            Err(error) => {
                let problem = format!("{} cannot be listened on: {error}", path.display());
                Err(Fault::new(&socket.path.origin, "admin_socket", problem))
            }
        }
    }
}

/// Binds beside the path, sets the mode, and only then listens and renames: nobody can connect
/// before, and the path always names a socket that answers.
fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Ok(there) = fs::symlink_metadata(path) {
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
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    // Left by one that was killed: in a container, every process has the same number.
    drop(fs::remove_file(&beside));
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    net::bind(&socket, &SocketAddrUnix::new(&beside)?)?;
    let listening = fs::set_permissions(&beside, Permissions::from_mode(mode))
        .and_then(|()| Ok(net::listen(&socket, BACKLOG)?))
        .and_then(|()| fs::rename(&beside, path));
    if let Err(error) = listening {
        drop(fs::remove_file(&beside));
        return Err(error);
    }
    UnixListener::from_std(socket.into())
}

/// Connects without waiting: a full queue is an error (connect(2), EAGAIN).
pub(crate) fn connect(socket: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let stream = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    #[expect(clippy::disallowed_methods, reason = "connects to aegis itself")]
    net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
    Ok(stream.into())
}

/// Serves the admin socket for ever, if there is one.
pub(crate) async fn serve(admin: Option<&AdminListener>, endpoint: &Arc<Endpoint>) -> Infallible {
    let Some(AdminListener(listener)) = admin else {
        return std::future::pending().await;
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = connections.join_next() => reap(&endpoint.metrics, ended),
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
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
