//! Unix stream sockets on which a peer cannot block a thread of aegis.
//!
//! A peer can pass descriptors along with its bytes (`SCM_RIGHTS`, unix(7)). Reading past them, or
//! closing the socket that holds them, closes them. Closing the last descriptor of a TCP socket can
//! take as long as its `SO_LINGER`, which the peer chooses: an hour, in which an event loop would
//! serve no other connection.
//!
//! Since Linux 6.16 a socket can reject descriptors (`SO_PASSRIGHTS`); the peer gets EPERM. On older
//! kernels aegis peeks before it reads, ends the exchange if a descriptor was passed, and closes
//! sockets on separate threads.

mod closer;

use std::fmt;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{self, SetSockOpt as _, sockopt::PeerCredentials, sockopt::SetBool};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendFlags, Shutdown,
    SocketFlags, SocketType, sockopt,
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

pub(crate) use closer::Closer;

/// A socket that is not connected yet.
#[derive(Debug)]
pub(crate) struct NewSocket {
    pub(crate) socket: OwnedFd,
    pub(crate) passing: Passing,
}

/// Whether peers can pass descriptors to aegis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passing {
    /// The kernel rejects descriptors.
    Refused,
    /// The kernel is older than Linux 6.16.
    Possible,
}

impl NewSocket {
    /// Creates a socket to connect or to listen on. Accepted sockets inherit its options.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let passing = match refuse_descriptors(&socket) {
            Ok(()) => Passing::Refused,
            Err(_) => Passing::Possible,
        };
        Ok(Self { socket, passing })
    }

    /// Registers the connected socket with this thread's event loop.
    pub(crate) fn into_stream(self) -> io::Result<(Registered, Passing)> {
        let registered = match self.passing {
            Passing::Refused => Registered::read_only(self.socket)?,
            // A read has to peek, which a receiver of pipes cannot.
            Passing::Possible => Registered::ReadWrite(UnixStream::from_std(self.socket.into())?),
        };
        Ok((registered, self.passing))
    }
}

fn refuse_descriptors(socket: &OwnedFd) -> nix::Result<()> {
    PassRights.set(socket, &false)
}

/// Whether this kernel can refuse descriptors that peers pass.
///
/// # Errors
/// Why it cannot.
pub(crate) fn can_refuse_descriptors() -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(refuse_descriptors(&socket)?)
}

#[derive(Clone, Copy)]
struct PassRights;

/// From include/uapi/asm-generic/socket.h; the libc crate lacks it.
pub(crate) const SO_PASSRIGHTS: libc::c_int = 83;

nix::setsockopt_impl!(PassRights, libc::SOL_SOCKET, SO_PASSRIGHTS, bool, SetBool);

/// A socket in the event loop of a thread.
#[derive(Debug)]
pub(crate) enum Registered {
    /// Only its readability is watched. A new socket is writable: if that were watched too, the event
    /// loop would run once more for each connection, only to report it. tokio has no such
    /// registration of sockets, but this type of its own for pipes, which calls read(2).
    ReadOnly(pipe::Receiver),
    /// Both directions are watched.
    ReadWrite(UnixStream),
}

impl Registered {
    fn read_only(socket: OwnedFd) -> io::Result<Self> {
        pipe::Receiver::from_owned_fd_unchecked(socket).map(Self::ReadOnly)
    }

    fn into_read_write(self) -> io::Result<UnixStream> {
        match self {
            Self::ReadOnly(receiver) => {
                UnixStream::from_std(receiver.into_nonblocking_fd()?.into())
            }
            Self::ReadWrite(stream) => Ok(stream),
        }
    }
}

impl AsFd for Registered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::ReadOnly(receiver) => receiver.as_fd(),
            Self::ReadWrite(stream) => stream.as_fd(),
        }
    }
}

/// A connection, with the guard that counts it until it is closed.
pub(crate) struct PeerStream<P: Send + 'static> {
    /// `Some` until it is dropped.
    stream: Option<Registered>,
    guard: Option<P>,
    /// `Some` if the peer can pass descriptors.
    closer: Option<Arc<Closer>>,
}

impl<P: Send + 'static> PeerStream<P> {
    pub(crate) fn new(
        stream: Registered,
        guard: P,
        passing: Passing,
        closer: &Arc<Closer>,
    ) -> io::Result<Self> {
        let closer = match passing {
            Passing::Refused => None,
            Passing::Possible => Some(Arc::clone(closer)),
        };
        // Before anything can fail, so that it is always closed by the closer.
        let stream = Self {
            stream: Some(stream),
            guard: Some(guard),
            closer,
        };
        if let (Passing::Possible, Some(stream)) = (passing, &stream.stream) {
            // Otherwise the kernel drops descriptors sent out of band when aegis reads past them.
            sockopt::set_socket_oobinline(stream, true)?;
        }
        Ok(stream)
    }

    /// Sends without waiting for buffer space.
    pub(crate) fn send_now(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let stream = self.stream.as_ref().ok_or(Errno::NOTCONN)?;
        net::send(stream, bytes, SendFlags::NOSIGNAL)
    }

    /// The user who called listen(2): the owner of the file may be another.
    pub(crate) fn listening_user(&self) -> io::Result<u32> {
        let stream = self.stream.as_ref().ok_or(Errno::NOTCONN)?;
        // Not by rustix, whose process ids cannot be 0: that is the id of a process outside of this PID
        // namespace, as in a container.
        Ok(socket::getsockopt(stream, PeerCredentials)?.uid())
    }

    fn stream(&mut self) -> io::Result<&mut Registered> {
        let stream = self.stream.as_mut();
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Watches both directions from now on: a write that waits needs it.
    fn read_write(&mut self, cx: &Context<'_>) -> io::Result<Pin<&mut UnixStream>> {
        if matches!(self.stream, Some(Registered::ReadOnly(_))) {
            let stream = self
                .stream
                .take()
                .map(Registered::into_read_write)
                .transpose()?;
            self.stream = stream.map(Registered::ReadWrite);
            // A read that waits was registered with the former one: poll it again.
            cx.waker().wake_by_ref();
        }
        match &mut self.stream {
            Some(Registered::ReadWrite(stream)) => Ok(Pin::new(stream)),
            Some(Registered::ReadOnly(_)) | None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl<P: Send + Unpin + 'static> AsyncRead for PeerStream<P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let must_peek = self.closer.is_some();
        let stream = match self.stream()? {
            Registered::ReadOnly(receiver) => return Pin::new(receiver).poll_read(cx, buffer),
            Registered::ReadWrite(stream) if !must_peek => {
                return Pin::new(stream).poll_read(cx, buffer);
            }
            Registered::ReadWrite(stream) => stream,
        };
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            let read = stream.try_io(Interest::READABLE, || receive(stream.as_fd(), room));
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl<P: Send + Unpin + 'static> AsyncWrite for PeerStream<P> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Registered::ReadOnly(receiver) = self.stream()? {
            match net::send(receiver, bytes, SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN) => {}
                sent => return Poll::Ready(sent.map_err(io::Error::from)),
            }
        }
        self.read_write(cx)?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is buffered.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = net::shutdown(self.stream()?, Shutdown::Write);
        Poll::Ready(shut.map_err(io::Error::from))
    }
}

impl<P: Send + 'static> Drop for PeerStream<P> {
    fn drop(&mut self) {
        if let (Some(closer), Some(Registered::ReadWrite(stream))) =
            (&self.closer, self.stream.take())
        {
            closer.close(stream, self.guard.take());
        }
    }
}

impl<P: Send + 'static> fmt::Debug for PeerStream<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerStream").finish_non_exhaustive()
    }
}

/// Reads available bytes, but never past descriptors.
///
/// Peeking leaves descriptors in the queue, and without a buffer for them reports that there are some
/// (recvmsg(2), `MSG_CTRUNC`). The read then takes only the peeked bytes; nothing else reads from
/// this socket.
fn receive(stream: impl AsFd + Copy, room: &mut [u8]) -> io::Result<usize> {
    let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let mut no_room = RecvAncillaryBuffer::default();
    let seen = net::recvmsg(stream, &mut [IoSliceMut::new(room)], &mut no_room, look)?;
    if seen.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the peer passed file descriptors, which aegis does not accept",
        ));
    }
    match room.get_mut(..seen.bytes) {
        None | Some([]) => Ok(0),
        Some(seen) => Ok(net::recv(stream, seen, RecvFlags::DONTWAIT)?.0),
    }
}

#[cfg(test)]
mod tests;
