//! What a sealed process must not be able to do, tried from inside: from the first thread, and
//! from one that is started where serve starts its threads.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rustix::net::{SendFlags, Shutdown, sendto, shutdown};
use rustix::process::{Pid, Resource, getrlimit, prlimit};

use super::{Paths, Sealed, Wall, Walls, seal};
use crate::config::Sandbox;

/// One thing that was tried.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// What was tried, as in "open a TCP connection".
    pub(crate) what: &'static str,
    /// What became of it.
    pub(crate) became: io::Result<()>,
    /// A wall that is there to deny it, if any that stands is.
    pub(crate) denied_by: Option<Wall>,
}

impl Attempt {
    /// Whether it was denied for want of permission, and not for another reason.
    pub(crate) fn was_denied(&self) -> bool {
        let kind = self.became.as_ref().map_err(io::Error::kind);
        kind == Err(io::ErrorKind::PermissionDenied)
    }

    /// Whether it ended as it must.
    pub(crate) fn is_as_it_must_be(&self) -> bool {
        match self.denied_by {
            Some(_) => self.was_denied(),
            None => true,
        }
    }
}

/// Seals the process and tries to get out. `writable` is a directory that was writable before.
pub(crate) fn attempts(
    sandbox: Sandbox,
    paths: &Paths,
    writable: &Path,
) -> io::Result<(Walls, Vec<Attempt>)> {
    // Somebody else's abstract socket: whoever bound it was not sealed.
    let name = format!("aegis-sandbox-{}", std::process::id());
    let abstract_socket = SocketAddr::from_abstract_name(name)?;
    let _listener = UnixListener::bind_addr(&abstract_socket)?;
    let outside = || -> io::Result<Outside> {
        Ok(Outside {
            program: std::env::current_exe()?,
            writable: writable.to_owned(),
            abstract_socket: abstract_socket.clone(),
            tcp: Tcp::open(),
        })
    };
    let (outside, of_second) = (outside()?, outside()?);
    let (sealed, walls, second) = seal(sandbox, paths, || Second::start(of_second))?;
    let first = outside.reach_for(&walls);
    let second = second.attempts(&sealed, &walls)?;
    // Of the two, that which is not as it must be.
    let attempts = first.into_iter().zip(second);
    let worse = attempts.map(|(first, second)| match first.is_as_it_must_be() {
        true => second,
        false => first,
    });
    let worse = worse.collect();
    Ok((walls, worse))
}

/// What lies outside of the sandbox.
struct Outside {
    program: PathBuf,
    writable: PathBuf,
    abstract_socket: SocketAddr,
    tcp: io::Result<Tcp>,
}

/// What a sandbox finds open, and somebody to reach.
struct Tcp {
    listening: TcpListener,
    elsewhere: TcpListener,
}

impl Tcp {
    #[expect(
        clippy::disallowed_methods,
        reason = "serve has such sockets when it is sealed"
    )]
    fn open() -> io::Result<Self> {
        Ok(Self {
            listening: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
            elsewhere: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        })
    }

    /// Has the socket that listens do so no more, and connects it elsewhere.
    fn connect(&self) -> io::Result<()> {
        shutdown(&self.listening, Shutdown::Both)?;
        #[expect(clippy::disallowed_methods, reason = "it must be denied")]
        rustix::net::connect(&self.listening, &self.elsewhere.local_addr()?)?;
        Ok(())
    }

    /// The same by the first bytes.
    fn send(&self) -> io::Result<()> {
        let elsewhere = self.elsewhere.local_addr()?;
        sendto(&self.listening, b"GET", FAST_OPEN, &elsewhere)?;
        Ok(())
    }
}

/// `MSG_FASTOPEN` of Linux.
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(libc::MSG_FASTOPEN.cast_unsigned());

impl Outside {
    fn reach_for(&self, walls: &Walls) -> Vec<Attempt> {
        let mut attempts = on_networks(walls);
        attempts.extend(self.on_open_sockets(walls));
        attempts.extend(on_files(walls, &self.program, &self.writable));
        attempts.push(walls.tried(
            "connect to an abstract Unix socket",
            &[Wall::Scope],
            UnixStream::connect_addr(&self.abstract_socket).map(drop),
        ));
        let program = Command::new(&self.program).arg("--version").output();
        attempts.push(walls.tried(
            "run a program",
            &[Wall::Calls, Wall::Files],
            program.map(drop),
        ));
        attempts.push(walls.tried(
            "start a thread",
            &[Wall::Calls],
            thread::Builder::new().spawn(|| {}).map(drop),
        ));
        attempts.push(walls.tried(
            "change a limit of a process by its number",
            &[Wall::Calls],
            change_limit(),
        ));
        attempts
    }

    fn on_open_sockets(&self, walls: &Walls) -> Vec<Attempt> {
        let (connected, sent, denying): (_, _, &[_]) = match &self.tcp {
            Ok(tcp) => (tcp.connect(), tcp.send(), &[Wall::Calls, Wall::Tcp]),
            // No socket of TCP is allowed here, so that serve has none either.
            Err(error) => (Err(error.kind().into()), Err(error.kind().into()), &[]),
        };
        let calls = denying.get(..1).unwrap_or_default();
        vec![
            walls.tried("connect a TCP socket that is there", denying, connected),
            walls.tried("send by it to an address (TCP Fast Open)", calls, sent),
        ]
    }
}

/// Of this process, by its number: nothing is changed if that is possible.
fn change_limit() -> io::Result<()> {
    let process = i32::try_from(std::process::id()).unwrap_or_default();
    let limit = getrlimit(Resource::Core);
    prlimit(Pid::from_raw(process), Resource::Core, limit)?;
    Ok(())
}

/// A thread like those that serve: it waits until the process is sealed.
struct Second {
    go: mpsc::Sender<Walls>,
    /// Nothing was tried if it could not hear that the process is sealed.
    thread: JoinHandle<Option<Vec<Attempt>>>,
}

impl Second {
    fn start(outside: Outside) -> io::Result<Self> {
        let (go, sealed) = mpsc::channel();
        let (up, ready) = mpsc::channel();
        let thread = thread::Builder::new().spawn(move || {
            up.send(()).ok()?;
            let walls = sealed.recv().ok()?;
            Some(outside.reach_for(&walls))
        })?;
        // What a thread does to come up is forbidden later.
        ready.recv().map_err(|_| ended_early())?;
        Ok(Self { go, thread })
    }

    fn attempts(self, _: &Sealed, walls: &Walls) -> io::Result<Vec<Attempt>> {
        self.go.send(walls.clone()).map_err(|_| ended_early())?;
        let attempts = self.thread.join().ok().flatten();
        attempts.ok_or_else(ended_early)
    }
}

fn ended_early() -> io::Error {
    io::Error::other("the second thread ended before it had tried everything")
}

#[expect(clippy::disallowed_methods, reason = "they must be denied")]
fn on_networks(walls: &Walls) -> Vec<Attempt> {
    let tcp = [Wall::Calls, Wall::Tcp];
    vec![
        walls.tried(
            "open a TCP connection",
            &tcp,
            TcpStream::connect((Ipv4Addr::LOCALHOST, DISCARD)).map(drop),
        ),
        walls.tried(
            "listen on a TCP port",
            &tcp,
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop),
        ),
        walls.tried(
            "open a UDP socket",
            &[Wall::Calls],
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop),
        ),
    ]
}

fn on_files(walls: &Walls, program: &Path, writable: &Path) -> Vec<Attempt> {
    // A name of this thread's own. What could be made is taken away again, where that can be done.
    let (process, thread) = (std::process::id(), thread::current().id());
    let name = |what| writable.join(format!("aegis-sandbox-{process}-{thread:?}-{what}"));
    let (file, directory) = (name("file"), name("directory"));
    let written = File::create_new(&file).map(drop);
    if written.is_ok() {
        drop(fs::remove_file(&file));
    }
    let made = fs::create_dir(&directory);
    if made.is_ok() {
        drop(fs::remove_dir(&directory));
    }
    vec![
        walls.tried("write a file", &[Wall::Files], written),
        walls.tried("make a directory", &[Wall::Files, Wall::Calls], made),
        walls.tried(
            "remove a file",
            &[Wall::Calls],
            // That is not there: the call is denied before its name is looked at.
            fs::remove_file(name("absent")),
        ),
        walls.tried(
            "read a file that the configuration does not name",
            &[Wall::Files],
            File::open(program).map(drop),
        ),
        walls.tried(
            "read which connections the host has",
            &[Wall::Files],
            File::open("/proc/self/net/tcp").map(drop),
        ),
        walls.tried(
            "list a directory that the configuration does not name",
            &[Wall::Files],
            fs::read_dir("/").map(drop),
        ),
    ]
}

impl Walls {
    /// Notes what became of an attempt, and which wall that stands is there to deny it.
    fn tried(&self, what: &'static str, denying: &[Wall], became: io::Result<()>) -> Attempt {
        Attempt {
            what,
            became,
            denied_by: denying.iter().copied().find(|wall| self.has(*wall)),
        }
    }
}

/// Nobody listens there (RFC 863); whether it is denied comes first.
const DISCARD: u16 = 9;
