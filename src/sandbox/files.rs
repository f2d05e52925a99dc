//! Landlock: which files, directories and sockets the process can still reach.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};

use super::{Wall, Walls};
use crate::config::Config;

/// What the process still needs of the file system.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// Directories whose files are read again at a reload. A file is replaced by another of
    /// its name, so that a rule for the file itself would be a rule for the old one.
    read: Vec<PathBuf>,
    /// Directories that are listed, and whose sockets are connected.
    sockets: Vec<PathBuf>,
}

impl Paths {
    /// What a configuration names.
    pub(crate) fn of(config: &Config, file: &Path) -> Self {
        let files = config.tls.files().chain([file]);
        let mut read: Vec<PathBuf> = files.flat_map(folders).collect();
        // The users that `owner` may name after a reload.
        read.extend(["/etc/passwd", "/etc/nsswitch.conf"].map(PathBuf::from));
        // Whoever makes a directory of sockets anew makes another; a rule for the one above it
        // holds for both.
        let elsewhere = config.services.values();
        let elsewhere = elsewhere.filter_map(|service| service.socket.as_deref());
        let sockets = elsewhere
            .chain([config.socket_dir.value.as_path()])
            .flat_map(folders)
            .chain([config.socket_dir.value.clone()]);
        Self {
            sockets: sockets.collect(),
            read,
        }
    }
}

/// The directory that a path stands in, and the one that it leads to.
fn folders(path: &Path) -> impl Iterator<Item = PathBuf> {
    let named = folder(path);
    let meant = path.canonicalize().ok().map(|path| folder(&path));
    [named].into_iter().chain(meant)
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Confines the process to those paths, and to no TCP at all, as far as the kernel can.
pub(super) fn confine(paths: &Paths, walls: &mut Walls) {
    let (scope, tcp) = (look_for(Wall::Scope), look_for(Wall::Tcp));
    let sockets = look_for(Wall::Sockets);
    let files = look_for(Wall::Files).and_then(|()| restrict(paths));
    // One rule set: without it, none of these stands.
    let all = |wall: Result<(), String>| wall.and_then(|()| files.clone());
    walls.note(Wall::Tcp, all(tcp));
    walls.note(Wall::Scope, all(scope));
    walls.note(Wall::Sockets, all(sockets));
    walls.note(Wall::Files, files);
}

fn restrict(paths: &Paths) -> Result<(), String> {
    let failed = |error: RulesetError| error.to_string();
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    let read = paths.read.iter().map(|path| (path, READ));
    let sockets = paths.sockets.iter().map(|path| (path, SOCKETS));
    for (path, access) in read.chain(sockets) {
        // What is not there now cannot be named; it needs a restart once it is.
        let Ok(descriptor) = PathFd::new(path) else {
            continue;
        };
        rules = rules
            .add_rule(PathBeneath::new(descriptor, access))
            .map_err(failed)?;
    }
    rules.restrict_self().map(drop).map_err(failed)
}

const READ: BitFlags<AccessFs> = landlock::make_bitflags!(AccessFs::{ReadFile | ReadDir});
const SOCKETS: BitFlags<AccessFs> = landlock::make_bitflags!(AccessFs::{ReadDir | ResolveUnix});

/// The newest that is known here. Of what a kernel lacks, the rules are left out.
const NEWEST: ABI = ABI::V9;

/// Whether the kernel has a wall, asked by a rule set that is thrown away.
fn look_for(wall: Wall) -> Result<(), String> {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let asked = match wall {
        Wall::Files => rules.handle_access(AccessFs::from_all(ABI::V3)),
        Wall::Tcp => rules.handle_access(AccessNet::from_all(ABI::V4)),
        Wall::Scope => rules.scope(Scope::from_all(ABI::V6)),
        Wall::Sockets => rules.handle_access(AccessFs::ResolveUnix),
        Wall::NoNewPrivileges | Wall::NotDumpable | Wall::PassedDescriptors | Wall::Calls => {
            return Ok(());
        }
    };
    let needs = match wall {
        Wall::Files => "Linux 6.2 with Landlock enabled",
        Wall::Tcp => "Linux 6.7",
        Wall::Scope => "Linux 6.12",
        Wall::Sockets
        | Wall::NoNewPrivileges
        | Wall::NotDumpable
        | Wall::PassedDescriptors
        | Wall::Calls => "Linux 7.1",
    };
    match asked.and_then(Ruleset::create) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("it needs {needs}")),
    }
}
