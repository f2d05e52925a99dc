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

use std::fmt;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, ready};
use std::thread;

use nix::sys::socket::{SetSockOpt as _, sockopt::SetBool};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendFlags, Shutdown,
    SocketFlags, SocketType, sockopt,
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

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
            Passing::Refused => Registered::reading(self.socket)?,
            // A read has to peek, which a receiver of pipes cannot.
            Passing::Possible => Registered::Both(UnixStream::from_std(self.socket.into())?),
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
    Reading(pipe::Receiver),
    Both(UnixStream),
}

impl Registered {
    fn reading(socket: OwnedFd) -> io::Result<Self> {
        pipe::Receiver::from_owned_fd_unchecked(socket).map(Self::Reading)
    }

    /// Watches both.
    fn into_both(self) -> io::Result<UnixStream> {
        match self {
            Self::Reading(receiver) => UnixStream::from_std(receiver.into_nonblocking_fd()?.into()),
            Self::Both(stream) => Ok(stream),
        }
    }
}

impl AsFd for Registered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Reading(receiver) => receiver.as_fd(),
            Self::Both(stream) => stream.as_fd(),
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
        Ok(sockopt::socket_peercred(stream)?.uid.as_raw())
    }

    fn stream(&mut self) -> io::Result<&mut Registered> {
        let stream = self.stream.as_mut();
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The stream with both directions watched, which a write needs that has to wait.
    fn stream_of_both(&mut self, cx: &Context<'_>) -> io::Result<Pin<&mut UnixStream>> {
        if matches!(self.stream, Some(Registered::Reading(_))) {
            let stream = self.stream.take().map(Registered::into_both).transpose()?;
            self.stream = stream.map(Registered::Both);
            // A read that waits does so at the former registration.
            cx.waker().wake_by_ref();
        }
        match &mut self.stream {
            Some(Registered::Both(stream)) => Ok(Pin::new(stream)),
            Some(Registered::Reading(_)) | None => Err(io::ErrorKind::NotConnected.into()),
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
            Registered::Reading(receiver) => return Pin::new(receiver).poll_read(cx, buffer),
            Registered::Both(stream) if !must_peek => {
                return Pin::new(stream).poll_read(cx, buffer);
            }
            Registered::Both(stream) => stream,
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
        if let Registered::Reading(receiver) = self.stream()? {
            match net::send(receiver, bytes, SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN) => {}
                sent => return Poll::Ready(sent.map_err(io::Error::from)),
            }
        }
        self.stream_of_both(cx)?.poll_write(cx, bytes)
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
        if let (Some(closer), Some(Registered::Both(stream))) = (&self.closer, self.stream.take()) {
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

/// Closes connections on separate threads, because closing can take long.
///
/// One thread closes connections without passed descriptors, the other one the rest. If a descriptor
/// was passed, the concurrency guard of the scrape is released only after the close: a peer can delay
/// at most as many closes as it may have scrapes, and is then refused.
#[derive(Debug)]
pub(crate) struct Closer {
    empty: mpsc::Sender<Closing>,
    others: mpsc::Sender<Closing>,
    queues: Mutex<Vec<mpsc::Receiver<Closing>>>,
    /// How many connections without descriptors wait to be closed.
    waiting: Arc<AtomicUsize>,
}

/// Dropped on the threads, in this order.
struct Closing {
    _stream: std::os::unix::net::UnixStream,
    _guard: Option<Box<dyn Send>>,
    _waiting: Option<Waiting>,
}

/// More than ever wait when closing is fast. Further ones keep their guards until they are closed.
const MAX_WAITING: usize = 256;

/// Reads of 4 KiB to empty a connection: more than the kernel buffers by default.
const MAX_READS: usize = 128;

impl Default for Closer {
    fn default() -> Self {
        let (empty, empties) = mpsc::channel();
        let (others, rest) = mpsc::channel();
        Self {
            empty,
            others,
            queues: Mutex::new(vec![empties, rest]),
            waiting: Arc::default(),
        }
    }
}

impl Closer {
    /// Starts the threads, if this kernel needs them and they are not running.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(crate) fn start(&self) -> io::Result<()> {
        if can_refuse_descriptors().is_ok() {
            return Ok(());
        }
        let mut queues = self.queues.lock();
        for queue in queues.drain(..) {
            let (up, ready) = mpsc::channel();
            let thread = thread::Builder::new().name("closer".to_owned());
            thread.spawn(move || {
                if up.send(()).is_ok() {
                    queue.iter().for_each(drop);
                }
            })?;
            // The sandbox forbids system calls that a thread makes when it starts.
            ready.recv().map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn close(&self, stream: UnixStream, guard: Option<impl Send + 'static>) {
        // From here on the peer can pass no more descriptors (shutdown(2)).
        let is_shut = net::shutdown(&stream, Shutdown::Both).is_ok();
        let is_empty = is_shut && drain_is_empty(&stream);
        // Deregisters from the event loop, as the last step on this thread.
        let Ok(stream) = stream.into_std() else {
            return;
        };
        let waiting = Waiting::among(&self.waiting).filter(|_| is_empty);
        let guard = guard.filter(|_| waiting.is_none());
        let queue = if is_empty { &self.empty } else { &self.others };
        // The threads end with the process.
        drop(queue.send(Closing {
            _stream: stream,
            _guard: guard.map(|guard| Box::new(guard) as Box<dyn Send>),
            _waiting: waiting,
        }));
    }
}

/// Reads to the end, and returns whether no descriptor was passed.
fn drain_is_empty(stream: &UnixStream) -> bool {
    let mut bin = [0; 4096];
    for _ in 0..MAX_READS {
        match receive(stream, &mut bin) {
            Ok(0) => return true,
            Ok(_) => {}
            // Reported once, if the peer closed before it read everything.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(_) => return false,
        }
    }
    false
}

/// Counts a connection that waits for the first thread.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Counts it, unless there are too many.
    fn among(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        let joined = Self(Arc::clone(waiting));
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(joined)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
