//! Needs a kernel with Landlock, for files and for TCP (ABI 4, Linux 6.7).

use crate::Tests;
use crate::harness::aegis::command;
use crate::harness::kernel::where_calls_fail;
use crate::harness::{World, folder};

pub const TESTS: Tests = tests![
    files_that_the_configuration_does_not_name_are_out_of_reach,
    a_file_in_another_directory_is_not_read_before_a_restart,
    where_seccomp_is_missing_landlock_alone_keeps_tcp_in,
];

pub fn missing() -> Option<String> {
    let world = World::new();
    let mut check = command();
    check.args(["check", "--config"]).arg(world.write_config());
    let said = String::from_utf8(check.output().unwrap().stdout).unwrap();
    let lacks = |line: &&str| line.contains("the sandbox has no landlock");
    said.lines().find(lacks).map(str::to_owned)
}

fn files_that_the_configuration_does_not_name_are_out_of_reach() {
    let world = World::new();
    let mut sandbox = command();
    sandbox.args(["sandbox", "--config"]);
    let output = sandbox.arg(world.write_config()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for file in [
        "write a file",
        "read a file that the configuration does not name",
        "read which connections the host has",
        "list a directory that the configuration does not name",
    ] {
        let denied = format!("denied: {file} (landlock_files)");
        assert!(said.contains(&denied), "{file}\n{said}");
    }
}

fn a_file_in_another_directory_is_not_read_before_a_restart() {
    let world = World::new();
    let aegis = world.start();
    let elsewhere = folder();
    std::fs::copy(world.path("ca.pem"), elsewhere.path().join("ca.pem")).unwrap();
    let config = std::fs::read_to_string(world.path("aegis.toml")).unwrap();
    let there = elsewhere.path().join("ca.pem");
    let config = config.replace("\"ca.pem\"", &format!("{there:?}"));
    std::fs::write(world.path("aegis.toml"), config).unwrap();
    aegis.logged(&["not reloaded", "Permission denied", "restart aegis"]);
    assert_eq!(world.prometheus(&aegis).get("/absent").status, 404);
}

fn where_seccomp_is_missing_landlock_alone_keeps_tcp_in() {
    let world = World::new();
    let file = world.write_config();
    let output = where_calls_fail(&[libc::SYS_seccomp], libc::ENOSYS, move || {
        let mut sandbox = command();
        sandbox.args(["sandbox", "--config"]).arg(file);
        sandbox.output().unwrap()
    });
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("the sandbox has no seccomp: "), "{said}");
    for call in [
        "open a TCP connection",
        "listen on a TCP port",
        "connect a TCP socket that is there",
    ] {
        let denied = format!("denied: {call} (landlock_tcp)");
        assert!(said.contains(&denied), "{call}\n{said}");
    }
}
