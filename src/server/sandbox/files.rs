//! Landlock: the files, directories and sockets that the process may still access.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};

use super::{Enforcement, Layer, Paths};

/// Confines the process to these paths and denies all TCP, as far as the kernel supports it.
pub(super) fn confine(paths: &Paths, enforcement: &mut Enforcement) {
    let (scope, tcp) = (check_support(Layer::Scope), check_support(Layer::Tcp));
    let sockets = check_support(Layer::Sockets);
    let files = check_support(Layer::Files).and_then(|()| restrict(paths));
    // They share one rule set: if it fails, none of them is active.
    let with_rules = |layer: Result<(), String>| layer.and_then(|()| files.clone());
    enforcement.record(Layer::Tcp, with_rules(tcp));
    enforcement.record(Layer::Scope, with_rules(scope));
    enforcement.record(Layer::Sockets, with_rules(sockets));
    enforcement.record(Layer::Files, files);
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
        // A rule needs an existing path. One that is created later needs a restart.
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

/// The newest ABI that aegis uses. Rules that the kernel does not support are left out.
const NEWEST: ABI = ABI::V9;

/// Checks that the kernel supports a layer, by creating a rule set and discarding it.
fn check_support(layer: Layer) -> Result<(), String> {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let rules = match layer {
        Layer::Files => rules.handle_access(AccessFs::from_all(ABI::V3)),
        Layer::Tcp => rules.handle_access(AccessNet::from_all(ABI::V4)),
        Layer::Scope => rules.scope(Scope::from_all(ABI::V6)),
        Layer::Sockets => rules.handle_access(AccessFs::ResolveUnix),
        Layer::NoNewPrivileges | Layer::NotDumpable | Layer::PassedDescriptors | Layer::Calls => {
            return Ok(());
        }
    };
    let needs = match layer {
        Layer::Files => "Linux 6.2 with Landlock enabled",
        Layer::Tcp => "Linux 6.7",
        Layer::Scope => "Linux 6.12",
        Layer::Sockets
        | Layer::NoNewPrivileges
        | Layer::NotDumpable
        | Layer::PassedDescriptors
        | Layer::Calls => "Linux 7.1",
    };
    match rules.and_then(Ruleset::create) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("it needs {needs}")),
    }
}
