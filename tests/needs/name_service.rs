//! Needs a mount namespace, a C compiler and glibc: users whom only a name service knows (nss(5)).

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use crate::Tests;
use crate::file_layouts::{reloads, renew, text};
use crate::harness::aegis::{Aegis, binary};
use crate::harness::{World, answer};
use crate::namespaces::after_mounts;

pub const TESTS: Tests = tests![a_reload_needs_no_user_lookup,];

/// An NSS module that knows `from-file`, if it is in a file, and asks a daemon for the rest, as
/// those of sssd and systemd do. They are all user 0, as the tester in the namespace.
const MODULE: &str = r#"
#include <errno.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int in_file(const char *name) {
    char line[64] = "";
    FILE *file = fopen(getenv("NAMES_FILE"), "re");
    if (!file) return 0;
    if (fgets(line, sizeof line, file)) line[strcspn(line, "\n")] = 0;
    fclose(file);
    return !strcmp(line, name);
}

static int at_daemon(const char *name) {
    char answer[64] = "";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strncpy(address.sun_path, getenv("NAMES_SOCKET"), sizeof address.sun_path - 1);
    int daemon = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (daemon < 0 || connect(daemon, (struct sockaddr *)&address, sizeof address)) return -1;
    if (read(daemon, answer, sizeof answer - 1) < 0) return -1;
    close(daemon);
    return !strcmp(answer, name);
}

enum nss_status _nss_daemonic_getpwnam_r(const char *name, struct passwd *user, char *buffer, size_t size, int *error) {
    int found = in_file(name) ? 1 : at_daemon(name);
    if (found < 0) { *error = EAGAIN; return NSS_STATUS_TRYAGAIN; }
    if (!found) { *error = ENOENT; return NSS_STATUS_NOTFOUND; }
    if (size < 64) { *error = ERANGE; return NSS_STATUS_TRYAGAIN; }
    strcpy(buffer, "none");
    *user = (struct passwd){ .pw_name = buffer, .pw_passwd = buffer, .pw_gecos = buffer, .pw_dir = buffer, .pw_shell = buffer };
    return NSS_STATUS_SUCCESS;
}
"#;

/// Runs aegis where `/etc` is that of the world.
const MOUNTS: &str = r#"mount --bind "$0/etc" /etc; exec "$@""#;

fn aegis(world: &World, subcommand: &str) -> Command {
    let mut command = after_mounts(MOUNTS);
    command.arg(world.folder.path());
    command.args([&binary(), subcommand, "--config"]);
    command.arg(world.path("aegis.toml"));
    command.env("LD_LIBRARY_PATH", world.folder.path());
    command.env("NAMES_FILE", world.path("names"));
    command.env("NAMES_SOCKET", world.path("daemon"));
    command
}

/// A world with users in a list, in a file of a name service, and at its daemon.
fn world_with_users() -> World {
    let world = World::new();
    let module = world.path("libnss_daemonic.so.2");
    fs::write(world.path("module.c"), MODULE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&module);
    assert!(
        compiler
            .arg(world.path("module.c"))
            .status()
            .unwrap()
            .success()
    );
    fs::create_dir(world.path("etc")).unwrap();
    fs::write(world.path("etc/passwd"), user("in-list")).unwrap();
    fs::write(world.path("etc/nsswitch.conf"), "passwd: files daemonic\n").unwrap();
    // The cache makes libraries load faster.
    drop(fs::copy("/etc/ld.so.cache", world.path("etc/ld.so.cache")));
    fs::write(world.path("names"), "in-file\n").unwrap();
    world
}

fn user(name: &str) -> String {
    format!("{name}:x:0:0::/:/bin/sh\n")
}

/// Answers every request with the user `at-daemon`, until the returned function is called.
fn answer_names(world: &World) -> impl FnOnce() + use<> {
    let socket = world.path("daemon");
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // The client may close early.
            drop(stream.write_all(b"at-daemon"));
        }
    });
    move || fs::remove_file(socket).unwrap()
}

fn a_reload_needs_no_user_lookup() {
    let mut world = world_with_users();
    let stop = answer_names(&world);
    let names = ["in-list", "in-file", "at-daemon"];
    let services = names.map(|name| world.service(name, answer("up 1\n")));
    let owned = |name: &str| format!("[services.{name}]\nowner = {name:?}\n");
    world.settings.rest = names.map(owned).concat();
    world.write_config();
    let stdout = text(&aegis(&world, "sandbox").output().unwrap().stdout);
    assert!(stdout.contains("\nworks: reload\n"), "{stdout}");
    let serving = Aegis::spawn(aegis(&world, "serve"));
    // As useradd(8) does it. The files of the name service are gone.
    fs::write(
        world.path("etc/passwd.new"),
        user("in-list") + &user("newcomer"),
    )
    .unwrap();
    fs::rename(world.path("etc/passwd.new"), world.path("etc/passwd")).unwrap();
    stop();
    fs::remove_file(world.path("names")).unwrap();
    reloads(&serving, || {
        renew(&world, &world.path("new"));
        for name in ["server.pem", "server.key"] {
            fs::rename(world.path("new").join(name), world.path(name)).unwrap();
        }
    });
    let scraper = world.prometheus(&serving);
    for name in names {
        assert_eq!(scraper.get(&format!("/{name}")).text(), "up 1\n");
    }

    // A name that was missing at the start disables only its service.
    let newcomer = world.service("newcomer", answer("up 1\n"));
    world.settings.rest += &owned("newcomer");
    reloads(&serving, || drop(world.write_config()));
    serving.logged(&[
        "WARN",
        "services.newcomer.owner: user \"newcomer\" was not configured when aegis started",
        "until you restart aegis or write the uid",
    ]);
    let refused = scraper.get("/newcomer");
    assert_eq!(
        (refused.status, refused.header("Aegis-Reason")),
        (502, Some("owner"))
    );
    serving.logged(&[
        "reason=owner",
        "was not configured when aegis started; restart aegis",
    ]);
    assert_eq!(newcomer.requests().len(), 0);
    assert_eq!(scraper.get("/in-list").text(), "up 1\n");
    drop(services);
}
