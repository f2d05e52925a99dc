//! Unix stream sockets on which a peer cannot hold up a thread of aegis.
//!
//! A peer can pass descriptors along with its bytes (`SCM_RIGHTS`, unix(7)). Reading past them, or
//! closing the socket that they wait in, closes them. To close the last descriptor of a TCP socket
//! takes as long as its `SO_LINGER` says, and that is for the peer to choose: an hour, in which an
//! event loop would serve no one.
//!
//! Since Linux 6.16 a socket can take none (`SO_PASSRIGHTS`); the peer gets EPERM. On older
//! kernels aegis looks before it reads, ends the exchange if something was passed, and leaves
//! closing to threads that serve nothing.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, ready};
use std::thread;

use nix::sys::socket::{SetSockOpt as _, sockopt::SetBool};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendFlags, Shutdown,
    SocketFlags, SocketType, sockopt,
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// A socket that is not connected yet.
#[derive(Debug)]
pub(crate) struct NewSocket {
    pub(crate) socket: OwnedFd,
    pub(crate) passing: Passing,
}

/// Whether peers can pass descriptors to aegis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passing {
    /// The kernel refuses what they pass.
    Refused,
    /// The kernel is older than Linux 6.16.
    Possible,
}

impl NewSocket {
    /// Makes a socket to connect or to listen on. Those that are accepted from it are like it.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let passing = match refuse_descriptors(&socket) {
            Ok(()) => Passing::Refused,
            Err(_) => Passing::Possible,
        };
        Ok(Self { socket, passing })
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

/// Of include/uapi/asm-generic/socket.h; the libc crate does not have it yet.
pub(crate) const SO_PASSRIGHTS: libc::c_int = 83;

nix::setsockopt_impl!(PassRights, libc::SOL_SOCKET, SO_PASSRIGHTS, bool, SetBool);

/// A connection, with the place that it takes until it is closed.
pub(crate) struct PeerStream<P: Send + 'static> {
    /// There until it is dropped.
    stream: Option<UnixStream>,
    place: Option<P>,
    /// There where the peer can pass descriptors.
    closer: Option<Arc<Closer>>,
}

impl<P: Send + 'static> PeerStream<P> {
    pub(crate) fn new(
        stream: UnixStream,
        place: P,
        passing: Passing,
        closer: &Arc<Closer>,
    ) -> io::Result<Self> {
        let closer = match passing {
            Passing::Refused => None,
            Passing::Possible => Some(Arc::clone(closer)),
        };
        // Before anything can fail: it is closed as it must be from here on.
        let stream = Self {
            stream: Some(stream),
            place: Some(place),
            closer,
        };
        if let (Passing::Possible, Some(stream)) = (passing, &stream.stream) {
            // Otherwise what is passed out of band is dropped when reading goes past it.
            sockopt::set_socket_oobinline(stream, true)?;
        }
        Ok(stream)
    }

    /// Sends without waiting for the event loop to find room.
    pub(crate) fn send_now(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let stream = self.stream.as_ref().ok_or(Errno::NOTCONN)?;
        net::send(stream, bytes, SendFlags::NOSIGNAL)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut UnixStream>> {
        let stream = self.stream.as_mut().map(Pin::new);
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<P: Send + Unpin + 'static> AsyncRead for PeerStream<P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let looks_first = self.closer.is_some();
        let stream = self.stream()?;
        if !looks_first {
            return stream.poll_read(cx, buffer);
        }
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
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

impl<P: Send + 'static> Drop for PeerStream<P> {
    fn drop(&mut self) {
        if let (Some(closer), Some(stream)) = (&self.closer, self.stream.take()) {
            closer.close(stream, self.place.take());
        }
    }
}

impl<P: Send + 'static> fmt::Debug for PeerStream<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerStream").finish_non_exhaustive()
    }
}

/// Reads what has come, but never past descriptors.
///
/// To look leaves them where they are, and without room for them says that there are some
/// (recvmsg(2), `MSG_CTRUNC`). What was looked at is then read and nothing after it: no one else
/// reads from the socket.
fn receive(stream: impl AsFd + Copy, room: &mut [u8]) -> io::Result<usize> {
    let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let mut no_room = RecvAncillaryBuffer::default();
    let seen = net::recvmsg(stream, &mut [IoSliceMut::new(room)], &mut no_room, look)?;
    if seen.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the other side passed descriptors along, which aegis never takes",
        ));
    }
    match room.get_mut(..seen.bytes) {
        None | Some([]) => Ok(0),
        Some(seen) => Ok(net::recv(stream, seen, RecvFlags::DONTWAIT)?.0),
    }
}

/// Closes connections where that can take long: on threads that serve nothing.
///
/// One thread closes what nothing was passed in, the other the rest. A place among the scrapes of
/// a service is given back only once its connection is closed, if something was passed: so a peer
/// holds up at most as many closes as it has places, and then is refused.
#[derive(Debug)]
pub(crate) struct Closer {
    empty: mpsc::Sender<Closing>,
    others: mpsc::Sender<Closing>,
    queues: Mutex<Vec<mpsc::Receiver<Closing>>>,
    /// How many empty ones wait to be closed.
    waiting: Arc<AtomicUsize>,
}

/// What is dropped on the threads, in this order.
struct Closing {
    _stream: std::os::unix::net::UnixStream,
    _place: Option<Box<dyn Send>>,
    _waiting: Option<Waiting>,
}

/// More than wait where closing takes no time. Others keep their places until they are closed.
const MAX_WAITING: usize = 256;

/// Reads of what is left in a connection, 4 KiB each: more than the kernel keeps by default.
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
    /// Starts the threads, if this kernel needs them and they are not there yet.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(crate) fn start(&self) -> io::Result<()> {
        if can_refuse_descriptors().is_ok() {
            return Ok(());
        }
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in queues.drain(..) {
            let (up, ready) = mpsc::channel();
            let thread = thread::Builder::new().name("closer".to_owned());
            thread.spawn(move || {
                if up.send(()).is_ok() {
                    queue.iter().for_each(drop);
                }
            })?;
            // What a thread does to come up is forbidden later.
            ready.recv().map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn close(&self, stream: UnixStream, place: Option<impl Send + 'static>) {
        // From here on the peer can pass nothing more (shutdown(2)).
        let is_shut = net::shutdown(&stream, Shutdown::Both).is_ok();
        let is_empty = is_shut && is_empty_in_the_end(&stream);
        // Out of the event loop, with the last that is done here.
        let Ok(stream) = stream.into_std() else {
            return;
        };
        let waiting = Waiting::among(&self.waiting).filter(|_| is_empty);
        let place = place.filter(|_| waiting.is_none());
        let queue = if is_empty { &self.empty } else { &self.others };
        // The threads end with the process.
        drop(queue.send(Closing {
            _stream: stream,
            _place: place.map(|place| Box::new(place) as Box<dyn Send>),
            _waiting: waiting,
        }));
    }
}

/// Reads to the end of what had come, and says whether nothing was passed in it.
fn is_empty_in_the_end(stream: &UnixStream) -> bool {
    let mut bin = [0; 4096];
    for _ in 0..MAX_READS {
        match receive(stream, &mut bin) {
            Ok(0) => return true,
            Ok(_) => {}
            // Said once, of a peer that has closed before it had read everything.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(_) => return false,
        }
    }
    false
}

/// One of those that wait for the first thread.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Joins them, unless there are too many.
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
