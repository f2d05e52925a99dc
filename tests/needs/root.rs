//! Needs root: files that belong to others.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};

use crate::Tests;
use crate::harness::aegis::command;
use crate::harness::{World, answer, folder};

pub const TESTS: Tests = tests![
    a_directory_of_sockets_that_a_group_can_replace_is_a_warning,
    a_socket_that_another_user_than_its_owner_listens_on_is_refused,
];

pub fn missing() -> Option<String> {
    // Root in a user namespace may be root over no other user.
    let given = chown(folder().path(), Some(OTHER), Some(OTHER));
    given
        .err()
        .map(|error| format!("only root can give files to other users: {error}"))
}

const OTHER: u32 = 65533;

fn a_directory_of_sockets_that_a_group_can_replace_is_a_warning() {
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
        let said = String::from_utf8(check.output().unwrap().stdout).unwrap();
        let warned = said.contains("services.x.socket: another user can have");
        assert_eq!(warned, is_warned_of, "group {group}, mode {mode:o}\n{said}");
    }
}

fn a_socket_that_another_user_than_its_owner_listens_on_is_refused() {
    let mut world = World::new();
    world.settings.rest = format!("[services.theirs]\nowner = {OTHER}\n");
    let theirs = world.service("theirs", answer("up 1\n"));
    chown(world.socket("theirs"), Some(OTHER), None).unwrap();
    let aegis = world.start();
    let refused = world.prometheus(&aegis).get("/theirs");
    let seen = (refused.status, refused.header("Aegis-Reason"));
    assert_eq!(seen, (502, Some("owner")));
    let line = aegis.refused("upstream", "owner");
    assert!(line.contains("uid 0 answers on the socket"), "{line}");
    assert_eq!(theirs.requests().len(), 0);
}
