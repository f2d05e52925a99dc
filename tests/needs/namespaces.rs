//! Needs a mount namespace of its own: root, or user namespaces for everybody.

use std::process::Command;

use crate::Tests;
use crate::harness::World;

pub const TESTS: Tests = tests![without_proc_it_does_not_start_and_says_why];

pub fn missing() -> Option<String> {
    let tried = where_proc_is_hidden("true").output();
    let said = match tried {
        Ok(output) if output.status.success() => return None,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Some(format!("/proc cannot be hidden here: {said}"))
}

/// A program that runs where `/proc` is empty; its arguments can be added.
fn where_proc_is_hidden(program: &str) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let hidden = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    command.args(["--mount", "sh", "-c", hidden, program]);
    command
}

fn without_proc_it_does_not_start_and_says_why() {
    let world = World::new();
    let mut serve = where_proc_is_hidden(env!("CARGO_BIN_EXE_aegis"));
    serve.args(["serve", "--config"]).arg(world.write_config());
    let output = serve.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("mount /proc"), "{said}");
}
