//! The copies that deploy/systemd/copy-credentials makes of files that only root can read.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use crate::harness::aegis::command;
use crate::harness::{Aegis, Certified, PATIENCE, World};

/// A world with the folders `sources` and `copies`. aegis reads the copies.
fn world() -> World {
    let world = World::new();
    for folder in ["sources", "copies"] {
        fs::create_dir(world.path(folder)).unwrap();
    }
    for (from, to) in [
        ("server.pem", "chain.pem"),
        ("server.key", "private.key"),
        ("ca.pem", "roots.pem"),
    ] {
        let to = world.path("sources").join(to);
        fs::copy(world.path(from), &to).unwrap();
        fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
    }
    world
}

fn script(world: &World, once: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/copy-credentials");
    let mut command = Command::new(script);
    command.args(once).arg(world.path("copies"));
    command.args(["chain.pem", "private.key", "roots.pem"].map(|name| source(world, name)));
    command
}

fn source(world: &World, name: &str) -> std::path::PathBuf {
    world.path("sources").join(name)
}

/// Copies the files once, and returns the script's output.
fn copy(world: &World) -> String {
    let output = script(world, &["--once"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// An aegis that reads the copies.
fn start(world: &World) -> Aegis {
    let mut serve = command();
    serve.args(["serve", "--config"]).arg(world.write_config());
    for (variable, name) in [
        ("AEGIS_TLS_CERT", "server.pem"),
        ("AEGIS_TLS_KEY", "server.key"),
        ("AEGIS_CLIENT_CA", "client-ca.pem"),
    ] {
        serve.env(variable, world.path("copies").join(name));
    }
    Aegis::spawn(serve)
}

/// The script that makes copies until it is dropped.
struct Copying(Child);

impl Drop for Copying {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn wait_until_served(world: &World, aegis: &Aegis, expected: &Certified) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let connection = world.prometheus(aegis).connect().unwrap();
        if connection.stream.conn.peer_certificates().unwrap()[0] == expected.chain[0] {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the certificate was never served"
        );
    }
}

#[test]
fn a_certificate_renewed_behind_two_links_is_copied_and_served() {
    let mut world = world();
    world.settings.limits = "connection_burst = 100000".to_owned();
    assert_eq!(copy(&world), "");
    let aegis = start(&world);
    let _copying = Copying(script(&world, &[]).spawn().unwrap());
    // As certbot does: a link in `live` leads to a new file in `archive` after each renewal.
    for name in ["live", "archive"] {
        fs::create_dir(world.path(name)).unwrap();
    }
    for number in 1..=3 {
        let renewed = world.pki.server();
        renewed.write(&world.path("archive"), &format!("host{number}"));
        for (end, name) in [("pem", "chain.pem"), ("key", "private.key")] {
            let (new, live) = (
                world.path("new"),
                world.path("live").join(format!("host.{end}")),
            );
            symlink(format!("../archive/host{number}.{end}"), &new).unwrap();
            fs::rename(&new, &live).unwrap();
            if number == 1 {
                symlink(&live, &new).unwrap();
                fs::rename(&new, source(&world, name)).unwrap();
            }
        }
        wait_until_served(&world, &aegis, &renewed);
    }
}

#[test]
fn a_missing_or_irregular_file_has_no_copy_and_the_old_one_stays_in_force() {
    let world = world();
    copy(&world);
    let aegis = start(&world);
    let key = source(&world, "private.key");
    fs::remove_file(&key).unwrap();
    symlink("/dev/zero", &key).unwrap();
    fs::remove_file(source(&world, "roots.pem")).unwrap();
    let output = copy(&world);
    let [key, roots] = ["private.key", "roots.pem"].map(|name| source(&world, name));
    let line = format!(
        "not copied, as missing, out of reach or not a regular file: {} {}\n",
        roots.display(),
        key.display()
    );
    assert_eq!(output, line);
    let left = fs::read_dir(world.path("copies")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["server.pem"]);
    aegis.logged(&["not reloaded", "server.key cannot be read"]);
    assert!(world.prometheus(&aegis).connect().is_ok());
}

#[test]
fn a_copy_is_bounded_in_size_and_private() {
    let world = world();
    let roots = File::create(source(&world, "roots.pem")).unwrap();
    roots.set_len(1 << 30).unwrap();
    copy(&world);
    let key = world.path("copies").join("server.key");
    let mode = fs::metadata(key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let roots = world.path("copies").join("client-ca.pem");
    assert_eq!(fs::metadata(roots).unwrap().len(), (16 << 20) + 1);
}

#[test]
fn an_unchanged_file_is_not_copied_again() {
    use std::os::unix::fs::MetadataExt as _;

    let world = world();
    copy(&world);
    let inodes = || {
        let names = ["server.pem", "server.key", "client-ca.pem"];
        names.map(|name| fs::metadata(world.path("copies").join(name)).unwrap().ino())
    };
    let before = inodes();
    copy(&world);
    assert_eq!(inodes(), before);
}

/// Renews the sources, runs the script in this way, and asserts that it changes no copy and reports
/// all files.
#[track_caller]
fn leaves_all_copies(run: impl FnOnce(&World, Command) -> Command) {
    let world = world();
    copy(&world);
    let copies = || {
        let left = fs::read_dir(world.path("copies")).unwrap();
        let left = left.map(|entry| entry.unwrap().path());
        let mut left: Vec<_> = left.map(|path| (fs::read(&path).unwrap(), path)).collect();
        left.sort();
        left
    };
    let before = copies();
    let renewed = world.pki.server();
    renewed.write(&world.path("sources"), "renewed");
    for (from, to) in [("renewed.pem", "chain.pem"), ("renewed.key", "private.key")] {
        fs::rename(source(&world, from), source(&world, to)).unwrap();
    }
    let script = script(&world, &["--once"]);
    let output = run(&world, script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(copies(), before);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let line =
        "not copied, as it cannot be read or its copy cannot be written; the copy before stays: ";
    let names = ["roots.pem", "chain.pem", "private.key"];
    let names = names.map(|name| source(&world, name).display().to_string());
    assert_eq!(stderr, format!("{line}{}\n", names.join(" ")));
}

/// The same command, run by `sh` after this.
fn after(preparation: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{preparation}; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

#[test]
fn a_failed_copy_keeps_the_previous_one() {
    leaves_all_copies(|_, command| after("ulimit -f 0", &command));
}

#[test]
fn a_file_on_a_hung_file_system_keeps_its_copy() {
    leaves_all_copies(|world, mut command| {
        // A `timeout` that fails at once, with the usual message.
        let programs = world.path("programs");
        fs::create_dir(&programs).unwrap();
        let timeout = programs.join("timeout");
        fs::write(&timeout, "#!/bin/sh\nexit 124\n").unwrap();
        fs::set_permissions(timeout, fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", programs.display()));
        command
    });
}

#[test]
fn a_certificate_is_not_copied_without_its_key() {
    let world = world();
    copy(&world);
    let before = fs::read(world.path("copies").join("server.pem")).unwrap();
    world.pki.server().write(&world.path("sources"), "renewed");
    fs::rename(source(&world, "renewed.pem"), source(&world, "chain.pem")).unwrap();
    let key = source(&world, "private.key");
    // The key is larger than the limit of `ulimit` below.
    File::options()
        .write(true)
        .open(key)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let limited = after("ulimit -f 1000", &script(&world, &["--once"]));
    let output = { limited }.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let copied = fs::read(world.path("copies").join("server.pem")).unwrap();
    assert_eq!(copied, before);
}
