//! Tests from inside the sandbox that the process cannot get out of it: on the first thread, and on
//! one that starts when the threads of `serve` would.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, sendto, shutdown};
use rustix::process::{Pid, Resource, getrlimit, prlimit};

use super::{Enforcement, Layer, Paths, Sealed, Unsealed, enter};
use crate::config::Sandbox;

/// One attempt to get out of the sandbox.
#[derive(Debug)]
pub(crate) struct EscapeTest {
    /// What was tried, as in "open a TCP connection".
    pub(crate) what: &'static str,
    /// The result of the attempt.
    pub(crate) outcome: io::Result<()>,
    /// The active layer that must deny it, if there is one.
    pub(crate) denied_by: Option<Layer>,
}

impl EscapeTest {
    /// Whether it was denied by permission, rather than by another error.
    pub(crate) fn was_denied(&self) -> bool {
        let kind = self.outcome.as_ref().map_err(io::Error::kind);
        kind == Err(io::ErrorKind::PermissionDenied)
    }

    /// Whether it was denied if a layer must deny it.
    pub(crate) fn passed(&self) -> bool {
        self.denied_by.is_none() || self.was_denied()
    }
}

/// Enters the sandbox and tries to get out. `writable` is a directory that was writable before.
///
/// # Errors
/// The process could not enter the sandbox, or the system refused what the tests need.
pub(crate) fn attempts(
    sandbox: Sandbox,
    paths: &Paths,
    writable: &Path,
) -> Result<(Enforcement, Vec<EscapeTest>), Unsealed> {
    // Bound before the process is sealed, so that Landlock treats it as another process's socket.
    let name = format!("aegis-sandbox-{}", std::process::id());
    let abstract_socket = SocketAddr::from_abstract_name(name).map_err(Unsealed::System)?;
    let _listener = UnixListener::bind_addr(&abstract_socket).map_err(Unsealed::System)?;
    let outside = || -> io::Result<Outside> {
        Ok(Outside {
            program: std::env::current_exe()?,
            writable: writable.to_owned(),
            abstract_socket: abstract_socket.clone(),
            tcp: Tcp::open(),
        })
    };
    let second = outside().map_err(Unsealed::System)?;
    let outside = outside().map_err(Unsealed::System)?;
    let (sealed, enforcement, second) = enter(sandbox, paths, || WorkerThread::start(second))?;
    let first = outside.run_tests(&enforcement);
    let second = second.run_tests(&sealed, &enforcement);
    let second = second.map_err(Unsealed::System)?;
    // Report each test once: the result of the thread on which it failed, if any.
    let both = first.into_iter().zip(second);
    let worse = both.map(|(first, second)| if first.passed() { second } else { first });
    let worse = worse.collect();
    Ok((enforcement, worse))
}

/// Targets outside the sandbox.
struct Outside {
    program: PathBuf,
    writable: PathBuf,
    abstract_socket: SocketAddr,
    tcp: io::Result<Tcp>,
}

/// A socket that is open when the process is sealed, and an address to reach with it.
struct Tcp {
    open: TcpListener,
    target: TcpListener,
}

impl Tcp {
    #[expect(
        clippy::disallowed_methods,
        reason = "serve has such sockets when it is sealed"
    )]
    fn open() -> io::Result<Self> {
        Ok(Self {
            open: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
            target: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        })
    }

    /// Stops the socket from listening, and connects it to the target.
    fn connect(&self) -> io::Result<()> {
        shutdown(&self.open, Shutdown::Both)?;
        #[expect(clippy::disallowed_methods, reason = "it must be denied")]
        rustix::net::connect(&self.open, &self.target.local_addr()?)?;
        Ok(())
    }

    /// Connects it by sending data (TCP Fast Open).
    fn send(&self) -> io::Result<()> {
        let target = self.target.local_addr()?;
        sendto(&self.open, b"GET", FAST_OPEN, &target)?;
        Ok(())
    }
}

/// `MSG_FASTOPEN` of Linux.
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(libc::MSG_FASTOPEN.cast_unsigned());

impl Outside {
    fn run_tests(&self, enforcement: &Enforcement) -> Vec<EscapeTest> {
        let mut attempts = on_networks(enforcement);
        attempts.extend(self.on_open_sockets(enforcement));
        attempts.extend(on_files(enforcement, &self.program, &self.writable));
        attempts.push(enforcement.test(
            "connect to an abstract Unix socket",
            &[Layer::Scope],
            UnixStream::connect_addr(&self.abstract_socket).map(drop),
        ));
        let program = Command::new(&self.program).arg("--version").output();
        attempts.push(enforcement.test(
            "run a program",
            &[Layer::Calls, Layer::Files],
            program.map(drop),
        ));
        attempts.push(enforcement.test(
            "start a thread",
            &[Layer::Calls],
            thread::Builder::new().spawn(|| {}).map(drop),
        ));
        attempts.push(enforcement.test(
            "change a limit of another process",
            &[Layer::Calls],
            change_limit(),
        ));
        attempts
    }

    fn on_open_sockets(&self, enforcement: &Enforcement) -> Vec<EscapeTest> {
        let (connected, sent, denying): (_, _, &[_]) = match &self.tcp {
            Ok(tcp) => (tcp.connect(), tcp.send(), &[Layer::Calls, Layer::Tcp]),
            // This system allows no TCP socket, so `serve` has none either.
            Err(error) => (Err(error.kind().into()), Err(error.kind().into()), &[]),
        };
        let calls = denying.get(..1).unwrap_or_default();
        vec![
            enforcement.test("connect an open TCP socket", denying, connected),
            enforcement.test("send from it to an address (TCP Fast Open)", calls, sent),
        ]
    }
}

/// Sets a limit of this process, addressed by its number, to the value that it has: nothing changes
/// if the call succeeds.
fn change_limit() -> io::Result<()> {
    let process = i32::try_from(std::process::id()).unwrap_or_default();
    let limit = getrlimit(Resource::Core);
    prlimit(Pid::from_raw(process), Resource::Core, limit)?;
    Ok(())
}

/// A thread like those of `serve`: it waits until the process is sealed.
struct WorkerThread {
    sealed_tx: mpsc::Sender<Enforcement>,
    /// `None` if the thread was not notified that the process is sealed.
    thread: JoinHandle<Option<Vec<EscapeTest>>>,
}

impl WorkerThread {
    fn start(outside: Outside) -> io::Result<Self> {
        let (sealed_tx, sealed_rx) = mpsc::channel();
        let (started_tx, started_rx) = mpsc::channel();
        let thread = thread::Builder::new().spawn(move || {
            started_tx.send(()).ok()?;
            let enforcement = sealed_rx.recv().ok()?;
            Some(outside.run_tests(&enforcement))
        })?;
        // The sandbox also forbids what a thread does while it starts: wait for it.
        started_rx.recv().map_err(|_| ended_early())?;
        Ok(Self { sealed_tx, thread })
    }

    fn run_tests(self, _: &Sealed, enforcement: &Enforcement) -> io::Result<Vec<EscapeTest>> {
        self.sealed_tx
            .send(enforcement.clone())
            .map_err(|_| ended_early())?;
        let results = self.thread.join().ok().flatten();
        results.ok_or_else(ended_early)
    }
}

fn ended_early() -> io::Error {
    io::Error::other("the second thread ended before it finished its tests")
}

#[expect(clippy::disallowed_methods, reason = "they must be denied")]
fn on_networks(enforcement: &Enforcement) -> Vec<EscapeTest> {
    let tcp = [Layer::Calls, Layer::Tcp];
    vec![
        enforcement.test(
            "open a TCP connection",
            &tcp,
            TcpStream::connect((Ipv4Addr::LOCALHOST, DISCARD)).map(drop),
        ),
        enforcement.test(
            "listen on a TCP port",
            &tcp,
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop),
        ),
        enforcement.test(
            "open a UDP socket",
            &[Layer::Calls],
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop),
        ),
    ]
}

fn on_files(enforcement: &Enforcement, program: &Path, writable: &Path) -> Vec<EscapeTest> {
    // A name that no other thread uses. What an attempt created is removed again if possible.
    let (process, thread) = (std::process::id(), thread::current().id());
    let name = |what| writable.join(format!("aegis-sandbox-{process}-{thread:?}-{what}"));
    let (file, directory) = (name("file"), name("directory"));
    let made = fs::create_dir(&directory);
    if made.is_ok() {
        drop(fs::remove_dir(&directory));
    }
    vec![
        enforcement.test("write a file", &[Layer::Files], write(writable, &file)),
        enforcement.test("make a directory", &[Layer::Files, Layer::Calls], made),
        enforcement.test(
            "remove a file",
            &[Layer::Calls],
            // The file does not exist: seccomp denies the call before the kernel looks it up.
            fs::remove_file(name("absent")),
        ),
        enforcement.test(
            "read a file that the configuration does not name",
            &[Layer::Files],
            File::open(program).map(drop),
        ),
        enforcement.test(
            "read the host's connections",
            &[Layer::Files],
            File::open("/proc/self/net/tcp").map(drop),
        ),
        enforcement.test(
            "list a directory that the configuration does not name",
            &[Layer::Files],
            fs::read_dir("/").map(drop),
        ),
    ]
}

/// Creates a file, without a name where the file system can do so: seccomp would deny its removal.
fn write(directory: &Path, named: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            File::create_new(named)?;
            drop(fs::remove_file(named));
            Ok(())
        }
        unnamed => Ok(unnamed.map(drop)?),
    }
}

impl Enforcement {
    /// Returns the result of an attempt, with the first active layer of those that deny it.
    fn test(&self, what: &'static str, denying: &[Layer], outcome: io::Result<()>) -> EscapeTest {
        EscapeTest {
            what,
            outcome,
            denied_by: denying.iter().copied().find(|layer| self.is_active(*layer)),
        }
    }
}

/// The discard port (RFC 863), on which no service is expected. The connection must be denied before
/// that matters.
const DISCARD: u16 = 9;
