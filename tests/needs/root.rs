//! Needs root: files that belong to other users.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};

use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;

use crate::Tests;
use crate::harness::aegis::command;
use crate::harness::{Service, World, answer, folder};

pub const TESTS: Tests = tests![
    a_socket_directory_replaceable_by_a_group_is_a_warning,
    a_socket_with_a_listener_of_another_user_is_refused,
    root_may_own_a_socket_and_listen_in_place_of_the_owner,
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
