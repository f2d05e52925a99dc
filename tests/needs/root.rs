//! Needs root: files that belong to other users.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use nix::unistd::User;
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;

use crate::Tests;
use crate::harness::aegis::command;
use crate::harness::{Service, World, answer, folder};

pub const TESTS: Tests = tests![
    a_socket_directory_replaceable_by_a_group_is_a_warning,
    a_socket_with_a_listener_of_another_user_is_refused,
    root_may_own_a_socket_and_listen_in_place_of_the_owner,
    a_check_looks_as_the_user_that_it_names,
    services_are_probed_as_the_user_that_is_named,
    root_is_told_what_it_means_to_be_root,
    a_port_that_the_user_may_not_listen_on_is_a_warning,
];

pub fn missing() -> Option<String> {
    // Root in a user namespace may have no power over other users.
    let given = chown(folder().path(), Some(OTHER), Some(OTHER));
    given
        .err()
        .map(|error| format!("only root can give files to other users: {error}"))
}

const OTHER: u32 = 65533;
const THIRD: u32 = 65532;

fn a_socket_directory_replaceable_by_a_group_is_a_warning() {
    let mut world = World::new();
    std::fs::create_dir_all(world.path("of-group/run")).unwrap();
    world.settings.rest = "[services.x]\nsocket = \"of-group/run/x.sock\"\n".to_owned();
    let config = world.write_config();
    for (group, mode, is_warned_of) in [
        (OTHER, 0o775, true),
        (OTHER, 0o755, false),
        (0, 0o775, false),
    ] {
        let folder = world.path("of-group");
        chown(&folder, None, Some(group)).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        let mut check = command();
        check.args(["check", "--config"]).arg(&config);
        let stdout = String::from_utf8(check.output().unwrap().stdout).unwrap();
        let warned = stdout.contains("services.x.socket: another user can replace");
        assert_eq!(
            warned, is_warned_of,
            "group {group}, mode {mode:o}\n{stdout}"
        );
    }
}

fn a_socket_with_a_listener_of_another_user_is_refused() {
    let mut world = World::new();
    world.settings.rest = format!("[services.theirs]\nowner = {OTHER}\n");
    let socket = world.socket("theirs");
    // Only this thread changes its user: SO_PEERCRED tells who called listen(2).
    std::fs::set_permissions(world.path("services"), Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(world.folder.path(), Permissions::from_mode(0o755)).unwrap();
    let listening = std::thread::spawn(move || {
        let uid = Uid::from_raw(THIRD);
        set_thread_res_uid(uid, uid, uid).unwrap();
        Service::answering(&socket, answer("up 1\n").into())
    });
    let theirs = listening.join().unwrap();
    chown(world.socket("theirs"), Some(OTHER), None).unwrap();
    let aegis = world.start();
    let refused = world.prometheus(&aegis).get("/theirs");
    let seen = (refused.status, refused.header("Aegis-Reason"));
    assert_eq!(seen, (502, Some("owner")));
    let line = aegis.logged_refusal("upstream", "owner");
    let listener = format!("uid {THIRD} answers on the socket");
    assert!(line.contains(&listener), "{line}");
    assert_eq!(theirs.requests().len(), 0);
}

fn root_may_own_a_socket_and_listen_in_place_of_the_owner() {
    let mut world = World::new();
    world.settings.rest =
        format!("[services.chowned]\nowner = {OTHER}\n[services.roots]\nowner = {OTHER}\n");
    let _services = ["chowned", "roots"].map(|name| world.service(name, answer("up 1\n")));
    chown(world.socket("chowned"), Some(OTHER), None).unwrap();
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/chowned").status, 200);
    assert_eq!(scraper.get("/roots").status, 200);
}

/// The output of `check` with these flags: standard output, then standard error.
fn check(config: &Path, flags: &[&str], code: i32) -> [String; 2] {
    let mut check = command();
    check.arg("check").args(flags).arg("--config").arg(config);
    let output = check.output().unwrap();
    let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{texts:?}");
    texts
}

fn a_check_looks_as_the_user_that_it_names() {
    let world = World::new();
    let config = world.write_config();
    let open = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
    open(world.folder.path(), 0o755).unwrap();
    open(&world.path("server.key"), 0o600).unwrap();
    check(&config, &[], 0);
    let named = rustix::process::geteuid().as_raw().to_string();
    check(&config, &["--user", &named], 0);
    let unprivileged = User::from_name("nobody").unwrap().unwrap();
    let [_, stderr] = check(&config, &["--user", "nobody"], 78);
    let expected = "server.key cannot be read: Permission denied (os error 13); make it readable by aegis's user";
    assert!(stderr.contains(expected), "{stderr}");
    chown(
        world.path("server.key"),
        Some(unprivileged.uid.as_raw()),
        None,
    )
    .unwrap();
    let [stdout, _] = check(&config, &["--user", "nobody"], 0);
    assert!(!stdout.contains("run as root"), "{stdout}");
    chown(world.path("server.key"), Some(0), None).unwrap();
    check(&config, &["--user", "nobody", "--credentials-as-root"], 0);
    let [_, stderr] = check(&config, &["--user", "no such user"], 2);
    assert!(
        stderr.contains("there is no user no such user; give the User= of aegis's unit"),
        "{stderr}"
    );
}

fn services_are_probed_as_the_user_that_is_named() {
    let world = World::new();
    let _node = world.service("node", answer("up 1\n"));
    let config = world.write_config();
    for (path, mode) in [
        (world.folder.path().to_owned(), 0o755),
        (world.path("services"), 0o755),
        (config.clone(), 0o644),
        (world.socket("node"), 0o755),
    ] {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let probe = |flags: &[&str]| {
        let mut services = command();
        services.args(["services", "--probe", "--config"]);
        let output = services.arg(&config).args(flags).output().unwrap();
        let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), texts.concat())
    };
    let (code, text) = probe(&[]);
    assert_eq!(code, Some(0), "{text}");
    let note = "to look as that user, run: aegis services --probe --user NAME";
    assert!(
        text.contains("probe: status 200") && text.contains(note),
        "{text}"
    );
    let (code, text) = probe(&["--user", "nobody"]);
    assert_eq!(code, Some(1), "{text}");
    let refused = "; probe failed: stage=upstream reason=permission: ";
    assert!(
        text.contains(refused) && !text.contains("run as root"),
        "{text}"
    );
    std::fs::set_permissions(world.socket("node"), Permissions::from_mode(0o777)).unwrap();
    assert_eq!(probe(&["--user", "nobody"]).0, Some(0));
    assert_eq!(probe(&["--user", "no such user"]).0, Some(2));
}

fn root_is_told_what_it_means_to_be_root() {
    let world = World::new();
    let _node = world.service("node", answer("up 1\n"));
    let config = world.write_config();
    let [stdout, _] = check(&config, &["--strict"], 0);
    let note = "run as root, which may read files and connect to sockets that aegis's user may not";
    assert!(stdout.contains(&format!("note: {note}")), "{stdout}");
    let mut services = command();
    services
        .args(["services", "--probe", "--config"])
        .arg(&config);
    let stderr = String::from_utf8(services.output().unwrap().stderr).unwrap();
    assert!(stderr.contains(note), "{stderr}");
    let aegis = world.start();
    aegis.logged(&["WARN", "aegis runs as root, and does not need to"]);
}

fn a_port_that_the_user_may_not_listen_on_is_a_warning() {
    let mut world = World::new();
    world.settings.listen = "[\"127.0.0.1:443\"]".to_owned();
    let config = world.write_config();
    let mut check = world.command_as_unprivileged_user();
    check.arg("check").arg("--config").arg(config);
    let stdout = String::from_utf8(check.output().unwrap().stdout).unwrap();
    // Containers often allow all ports.
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let first = first.trim().parse::<u16>().unwrap();
    let expected = format!(
        "listen: 127.0.0.1:443: this user may not listen on ports below {first}; use another port or a systemd .socket unit"
    );
    assert_eq!(stdout.contains(&expected), first > 443, "{stdout}");
}
