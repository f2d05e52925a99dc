//! The kernel's own walls around the process, put up once everything is open and before the
//! first connection is accepted.
//!
//! Whoever takes aegis over through a hole in it finds that it can open no TCP connection, run
//! no program, write no file, and read none but those that its configuration names. What the
//! running kernel cannot do is said in the log and in `aegis_sandbox_active{kind}`, never
//! passed over.

mod attempts;
mod calls;
mod files;

use std::fmt;
use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;

use crate::config::Sandbox;
use crate::unix_socket::can_refuse_descriptors;
pub(crate) use attempts::{Attempt, attempts};
pub(crate) use files::Paths;

/// Proof that it was decided how the process is confined: by the kernel, or in writing not at
/// all. No connection is accepted without one.
#[derive(Clone, Debug)]
pub(crate) struct Sealed(());

/// A wall of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wall {
    /// No program that runs from here on gains a privilege (prctl(2), PR_SET_NO_NEW_PRIVS).
    NoNewPrivileges,
    /// No core dump, and no debugger of the same user (prctl(2), PR_SET_DUMPABLE).
    NotDumpable,
    /// Files: read those that the configuration names and what lies beside them; write none
    /// (landlock(7)).
    Files,
    /// No TCP connection out, and no further address bound (landlock(7), ABI 4).
    Tcp,
    /// No abstract Unix socket of others, no signal to others (landlock(7), ABI 6).
    Scope,
    /// Unix sockets by path: only in the directories of services (landlock(7), ABI 9).
    Sockets,
    /// No descriptor that a service or an operator passes (unix(7), SO_PASSRIGHTS, Linux 6.16).
    PassedDescriptors,
    /// A list of system calls; sockets of AF_UNIX alone, nothing executed (seccomp(2)).
    Calls,
}

impl Wall {
    /// Every wall.
    pub(crate) const ALL: &[Self] = &[
        Self::NoNewPrivileges,
        Self::NotDumpable,
        Self::Files,
        Self::Tcp,
        Self::Scope,
        Self::Sockets,
        Self::PassedDescriptors,
        Self::Calls,
    ];

    /// Its name in logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoNewPrivileges => "no_new_privileges",
            Self::NotDumpable => "not_dumpable",
            Self::Files => "landlock_files",
            Self::Tcp => "landlock_tcp",
            Self::Scope => "landlock_scope",
            Self::Sockets => "landlock_unix_sockets",
            Self::PassedDescriptors => "so_passrights",
            Self::Calls => "seccomp",
        }
    }

    /// Whether something is wrong without it. Newer kernels alone have the others, and each of
    /// those stands behind another: sockets are opened by openat2, few signals can be sent, and
    /// `unix_socket.rs` looks before it reads.
    fn is_required(self) -> bool {
        match self {
            Self::NoNewPrivileges | Self::NotDumpable | Self::Files | Self::Tcp | Self::Calls => {
                true
            }
            Self::Scope | Self::Sockets | Self::PassedDescriptors => false,
        }
    }
}

/// Which walls stand, and why the others do not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walls {
    standing: Vec<Wall>,
    missing: Vec<(Wall, String)>,
}

impl Walls {
    fn note(&mut self, wall: Wall, built: Result<(), impl fmt::Display>) {
        match built {
            Ok(()) => self.standing.push(wall),
            Err(why) => self.missing.push((wall, why.to_string())),
        }
    }

    /// The names of those that stand.
    pub(crate) fn standing(&self) -> impl Iterator<Item = &'static str> {
        self.standing.iter().map(|wall| wall.name())
    }

    /// Whether a wall stands.
    pub(crate) fn has(&self, wall: Wall) -> bool {
        self.standing.contains(&wall)
    }

    /// One sentence for each that does not stand and must.
    pub(crate) fn missing(&self) -> impl Iterator<Item = String> {
        let missing = self.missing.iter().filter(|(wall, _)| wall.is_required());
        missing.map(|(wall, why)| format!("the sandbox has no {}: {why}", wall.name()))
    }
}

/// Puts up every wall that the kernel has. Threads are started on the way: they inherit what
/// holds for the thread that starts them, and the rest holds for all.
///
/// # Errors
/// What `sandbox = "required"` asks for and the kernel does not have; threads that cannot start.
pub(crate) fn seal<T>(
    sandbox: Sandbox,
    paths: &Paths,
    start_threads: impl FnOnce() -> io::Result<T>,
) -> io::Result<(Sealed, Walls, T)> {
    if sandbox == Sandbox::UnsafeNone {
        return Ok((Sealed(()), Walls::default(), start_threads()?));
    }
    let mut walls = Walls::default();
    walls.note(Wall::NoNewPrivileges, set_no_new_privs(true));
    walls.note(
        Wall::NotDumpable,
        set_dumpable_behavior(DumpableBehavior::NotDumpable),
    );
    files::confine(paths, &mut walls);
    walls.note(Wall::PassedDescriptors, can_refuse_descriptors());
    let threads = start_threads()?;
    // Last: it forbids what put up the others.
    walls.note(Wall::Calls, calls::confine());
    let too_few = walls.missing.iter().find(|(wall, _)| wall.is_required());
    match too_few {
        Some((wall, why)) if sandbox == Sandbox::Required => Err(io::Error::other(format!(
            "sandbox = \"required\", but there is no {} here: {why}",
            wall.name()
        ))),
        _ => Ok((Sealed(()), walls, threads)),
    }
}

/// Puts up the walls for a process that is about to end, to see which ones this kernel has.
pub(crate) fn try_out(sandbox: Sandbox, paths: &Paths) -> io::Result<Walls> {
    let sandbox = match sandbox {
        Sandbox::UnsafeNone => Sandbox::UnsafeNone,
        Sandbox::BestEffort | Sandbox::Required => Sandbox::BestEffort,
    };
    seal(sandbox, paths, || Ok(())).map(|(_, walls, ())| walls)
}
