//! Needs a kernel with Landlock, for files and for TCP (ABI 4, Linux 6.7).

use crate::Tests;
use crate::harness::aegis::command;
use crate::harness::kernel::where_calls_fail;
use crate::harness::{World, folder};

pub const TESTS: Tests = tests![
    the_sandbox_hides_files_that_the_configuration_does_not_name,
    a_file_in_a_new_directory_is_read_after_a_restart,
    landlock_blocks_tcp_without_seccomp,
];

pub fn missing() -> Option<String> {
    let world = World::new();
    let mut check = command();
    check.args(["check", "--config"]).arg(world.write_config());
    let stdout = String::from_utf8(check.output().unwrap().stdout).unwrap();
    let lacks = |line: &&str| line.contains("the sandbox has no landlock");
    stdout.lines().find(lacks).map(str::to_owned)
}

fn the_sandbox_hides_files_that_the_configuration_does_not_name() {
    let world = World::new();
    let mut sandbox = command();
    sandbox.args(["sandbox", "--config"]);
    let output = sandbox.arg(world.write_config()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    for file in [
        "write a file",
        "read a file that the configuration does not name",
        "read the host's connections",
        "list a directory that the configuration does not name",
    ] {
        let denied = format!("denied: {file} (landlock_files)");
        assert!(stdout.contains(&denied), "{file}\n{stdout}");
    }
}

fn a_file_in_a_new_directory_is_read_after_a_restart() {
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

fn landlock_blocks_tcp_without_seccomp() {
    let world = World::new();
    let file = world.write_config();
    let output = where_calls_fail(&[libc::SYS_seccomp], libc::ENOSYS, move || {
        let mut sandbox = command();
        sandbox.args(["sandbox", "--config"]).arg(file);
        sandbox.output().unwrap()
    });
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("the sandbox has no seccomp: "), "{stdout}");
    for call in [
        "open a TCP connection",
        "listen on a TCP port",
        "connect an open TCP socket",
    ] {
        let denied = format!("denied: {call} (landlock_tcp)");
        assert!(stdout.contains(&denied), "{call}\n{stdout}");
    }
}
