//! Confines the process by means of the kernel, after everything is open and before the first
//! connection is accepted.
//!
//! An attacker who takes over aegis can open no TCP connection, run no program, write no file, and
//! read only the files that the configuration names. A layer that the running kernel lacks is logged
//! and is 0 in `aegis_sandbox_active{kind}`.

mod attempts;
mod calls;
mod files;
mod paths;

use std::fmt;
use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;

use crate::config::Sandbox;
use crate::io::unix_socket::can_refuse_descriptors;
pub(crate) use attempts::{EscapeTest, attempts};
pub(crate) use paths::Paths;

/// Proof that the process has entered the sandbox, or that the configuration disables it. No
/// connection is accepted without one.
#[derive(Clone, Debug)]
pub(crate) struct Sealed(());

/// One layer of the sandbox. Each works without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// No program gains privileges when it is executed (prctl(2), PR_SET_NO_NEW_PRIVS).
    NoNewPrivileges,
    /// No core dumps, and no debugger of the same user (prctl(2), PR_SET_DUMPABLE).
    NotDumpable,
    /// Only the files that the configuration names, and others in their directories, can be read. No
    /// file can be written (landlock(7)).
    Files,
    /// No outbound TCP connection, and no further TCP listener (landlock(7), ABI 4).
    Tcp,
    /// No connection to other processes' abstract Unix sockets, and no signal to other processes
    /// (landlock(7), ABI 6).
    Scope,
    /// Unix sockets can be connected only in the directories of services (landlock(7), ABI 9).
    Sockets,
    /// Peers cannot pass descriptors (unix(7), SO_PASSRIGHTS, Linux 6.16).
    PassedDescriptors,
    /// Only listed system calls. New sockets are of AF_UNIX, and nothing is executed (seccomp(2)).
    Calls,
}

impl Layer {
    /// Every layer.
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

    /// Whether its absence is reported. The other layers need newer kernels, and each of them backs up
    /// another check: sockets are opened by openat2, seccomp limits signals, and `unix_socket.rs`
    /// checks for passed descriptors before it reads.
    fn is_required(self) -> bool {
        match self {
            Self::NoNewPrivileges | Self::NotDumpable | Self::Files | Self::Tcp | Self::Calls => {
                true
            }
            Self::Scope | Self::Sockets | Self::PassedDescriptors => false,
        }
    }
}

/// Which layers are active, and why the others are not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Enforcement {
    active: Vec<Layer>,
    missing: Vec<(Layer, String)>,
    /// One sentence for each path that the sandbox cannot follow once it is replaced.
    too_wide: Vec<String>,
    /// For each place where a file, or a link to it, can be replaced: whether it can still be read
    /// afterwards. See [`Paths::compare`].
    replacements: Vec<Result<String, String>>,
}

impl Enforcement {
    fn record(&mut self, layer: Layer, entered: Result<(), impl fmt::Display>) {
        match entered {
            Ok(()) => self.active.push(layer),
            Err(why) => self.missing.push((layer, why.to_string())),
        }
    }

    /// The names of the active layers.
    pub(crate) fn active(&self) -> impl Iterator<Item = &'static str> {
        self.active.iter().map(|layer| layer.name())
    }

    /// Why a layer is not active, as far as is known.
    pub(crate) fn why_inactive(&self, layer: Layer) -> Option<&str> {
        let mut missing = self.missing.iter();
        let (_, why) = missing.find(|(other, _)| *other == layer)?;
        Some(why)
    }

    /// Whether a layer is active.
    pub(crate) fn is_active(&self, layer: Layer) -> bool {
        self.active.contains(&layer)
    }

    /// One sentence for each required layer that is missing, and for each file that cannot be read
    /// once it is replaced. With `sandbox = "required"`, each is an error.
    pub(crate) fn missing(&self) -> impl Iterator<Item = String> {
        let missing = self.missing.iter().filter(|(layer, _)| layer.is_required());
        let missing =
            missing.map(|(layer, why)| format!("the sandbox has no {}: {why}", layer.name()));
        let unreadable = self.replacements.iter();
        let unreadable = unreadable.filter_map(|replacement| replacement.as_ref().err());
        missing.chain(self.too_wide.iter().chain(unreadable).cloned())
    }

    /// What a reload can read after it is replaced, as in "FILE in DIRECTORY", or a sentence on why
    /// it cannot.
    pub(crate) fn replacements(&self) -> impl Iterator<Item = Result<&str, &str>> {
        let replacements = self.replacements.iter();
        replacements.map(|one| one.as_deref().map_err(String::as_str))
    }
}

/// Why the process did not enter the sandbox.
#[derive(Debug)]
pub(crate) enum Unsealed {
    /// One sentence for each thing that `sandbox = "required"` needs and this system lacks.
    Unmet(Vec<String>),
    /// A system call failed.
    System(io::Error),
}

/// Enters every layer that the kernel has. Threads start in between: they inherit the layers that
/// hold for one thread (Landlock), and the last one (seccomp) is applied to all threads.
///
/// # Errors
/// What `sandbox = "required"` needs and this system lacks, or threads that cannot start.
pub(crate) fn enter<T>(
    sandbox: Sandbox,
    paths: &Paths,
    start_threads: impl FnOnce() -> io::Result<T>,
) -> Result<(Sealed, Enforcement, T), Unsealed> {
    if sandbox == Sandbox::UnsafeNone {
        let threads = start_threads().map_err(Unsealed::System)?;
        return Ok((Sealed(()), Enforcement::default(), threads));
    }
    let mut enforcement = Enforcement::default();
    enforcement.record(Layer::NoNewPrivileges, set_no_new_privs(true));
    enforcement.record(
        Layer::NotDumpable,
        set_dumpable_behavior(DumpableBehavior::NotDumpable),
    );
    let before = paths.open_directories();
    files::confine(paths, &mut enforcement);
    if enforcement.is_active(Layer::Files) {
        enforcement.too_wide = paths.too_wide().collect();
    }
    enforcement.replacements = paths.compare(&before);
    enforcement.record(Layer::PassedDescriptors, can_refuse_descriptors());
    let threads = start_threads().map_err(Unsealed::System)?;
    // Last: it forbids the system calls that enter the others.
    enforcement.record(Layer::Calls, calls::confine());
    let unmet: Vec<String> = enforcement.missing().collect();
    match sandbox {
        Sandbox::Required if !unmet.is_empty() => Err(Unsealed::Unmet(unmet)),
        Sandbox::Required | Sandbox::BestEffort | Sandbox::UnsafeNone => {
            Ok((Sealed(()), enforcement, threads))
        }
    }
}

/// Enters the sandbox in a process that is about to exit, to find out which layers this kernel has.
///
/// # Errors
/// A system call failed. A layer that `sandbox = "required"` needs is never an error here.
pub(crate) fn self_test(sandbox: Sandbox, paths: &Paths) -> Result<Enforcement, Unsealed> {
    let sandbox = match sandbox {
        Sandbox::UnsafeNone => Sandbox::UnsafeNone,
        Sandbox::BestEffort | Sandbox::Required => Sandbox::BestEffort,
    };
    enter(sandbox, paths, || Ok(())).map(|(_, enforcement, ())| enforcement)
}
