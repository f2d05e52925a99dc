//! Needs Landlock and a mount namespace: a root directory and mounts as in a container.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Tests;
use crate::file_layouts::{Layout, relink, reloads, renew, text};
use crate::harness::aegis::binary;
use crate::harness::{Aegis, World};
use crate::namespaces::after_mounts;
use crate::{landlock, namespaces};

pub const TESTS: Tests = tests![
    a_configuration_in_the_root_directory_opens_nothing_else_there,
    files_of_a_read_only_mount_are_replaced_from_outside,
    a_kubernetes_secret_is_replaced_by_its_link,
];

pub fn missing() -> Option<String> {
    namespaces::missing().or_else(landlock::missing)
}

/// Changes the root directory to one, outside of what the configuration names, with the system's libraries, this world's folder at its place
/// but not to be written to, and the configuration in it: as a file of its own, and mounted.
const CONTAINER: &str = r#"
world=$0 program=$1 root=/mnt
shift
mount -t tmpfs none "$root"
for directory in /bin /lib /lib64 /usr /proc /dev; do
    if [ -L "$directory" ]; then
        cp -P "$directory" "$root$directory"
    elif [ -e "$directory" ]; then
        mkdir "$root$directory"
        mount --rbind "$directory" "$root$directory"
    fi
done
mkdir -p "$root$world" "$root/run"
cp "$world/aegis.toml" "$root/aegis.toml"
touch "$root/mounted.toml" "$root/program"
mount --bind "$world/aegis.toml" "$root/mounted.toml"
mount --bind "$program" "$root/program"
mount --bind "$world" "$root$world"
mount -o remount,bind,ro "$root$world"
mount --bind "$world/run" "$root/run"
exec "$(PATH=$PATH:/usr/sbin command -v chroot)" "$root" /program "$@"
"#;

fn container(world: &World) -> Command {
    let mut command = after_mounts(CONTAINER);
    command.arg(world.folder.path());
    command.arg(binary());
    command
}

/// A world with absolute paths in its configuration, so that the file can be anywhere.
fn contained(top: &str) -> Layout {
    let mut world = World::new();
    world.settings.top = top.to_owned();
    fs::create_dir(world.path("run")).unwrap();
    let mut layout = Layout::new(world);
    let mut config = fs::read_to_string(&layout.config).unwrap();
    for name in ["server.pem", "server.key", "ca.pem", "services"] {
        let there = layout.world.path(name);
        config = config.replace(&format!("{name:?}"), &format!("{there:?}"));
    }
    fs::write(&layout.config, config).unwrap();
    layout.runner = Some(container);
    layout
}

fn a_configuration_in_the_root_directory_opens_nothing_else_there() {
    let mut layout = contained("");
    layout.config = PathBuf::from("/aegis.toml");
    let (aegis, findings) = layout.findings();
    assert_eq!(
        findings,
        [
            "/aegis.toml is in /, which is too broad for the sandbox to allow: once /aegis.toml is replaced, aegis cannot read it until a restart; move it to its own directory"
        ]
    );
    let stdout = text(&layout.run("sandbox").stdout);
    // The program, which is in the same directory.
    let denied = "denied: read a file that the configuration does not name (landlock_files)";
    assert!(stdout.contains(denied), "{stdout}");
    renews_from_outside(&layout, &aegis);

    let mut required = contained("sandbox = \"required\"");
    required.config = PathBuf::from("/aegis.toml");
    for subcommand in ["check", "sandbox", "serve"] {
        let output = required.run(subcommand);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{subcommand}: {stderr}");
        let problem = "/aegis.toml: sandbox: is \"required\", but /aegis.toml is in /, which";
        assert!(stderr.contains(problem), "{subcommand}: {stderr}");
    }
    // A file that is a mount can only be replaced together with the mount.
    required.config = PathBuf::from("/mounted.toml");
    let (_aegis, findings) = required.findings();
    assert_eq!(findings, [""; 0]);
}

fn files_of_a_read_only_mount_are_replaced_from_outside() {
    let layout = contained("");
    let (aegis, findings) = layout.findings();
    assert_eq!(findings, [""; 0]);
    renews_from_outside(&layout, &aegis);
}

/// As sops-nix and agenix do: a link in /run leads to the current generation.
fn a_kubernetes_secret_is_replaced_by_its_link() {
    let layout = contained("");
    let world = &layout.world;
    let mut config = fs::read_to_string(&layout.config).unwrap();
    for name in ["server.pem", "server.key"] {
        let there = world.path(name);
        config = config.replace(&format!("{there:?}"), &format!("\"/run/secrets/{name}\""));
    }
    // A link to a file is replaced in its own directory, even by a file.
    let ca = world.path("ca.pem");
    symlink(&ca, world.path("run/ca.pem")).unwrap();
    config = config.replace(&format!("{ca:?}"), "\"/run/ca.pem\"");
    fs::write(&layout.config, config).unwrap();
    renew(world, &world.path("run/secrets.d/1"));
    symlink("secrets.d/1", world.path("run/secrets")).unwrap();
    let (aegis, findings) = layout.findings();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].starts_with("/run/ca.pem is in /run, which is too broad"),
        "{findings:?}"
    );
    reloads(&aegis, || {
        renew(world, &world.path("run/secrets.d/2"));
        relink("secrets.d/2", &world.path("run/secrets"));
    });
}

fn renews_from_outside(layout: &Layout, aegis: &Aegis) {
    let world = &layout.world;
    let rename = |name: &Path| fs::rename(world.path("new").join(name), world.path("").join(name));
    reloads(aegis, || {
        renew(world, &world.path("new"));
        rename(Path::new("server.pem")).unwrap();
        rename(Path::new("server.key")).unwrap();
    });
}
