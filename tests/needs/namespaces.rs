//! Needs namespaces for mounts and processes: root, or unprivileged user namespaces.

use std::process::Command;

use crate::Tests;
use crate::harness::aegis::binary;
use crate::harness::{Aegis, World, answer};

pub const TESTS: Tests = tests![
    serve_fails_without_proc_and_reports_it,
    the_owner_of_a_service_outside_of_the_pid_namespace_is_checked,
];

pub fn missing() -> Option<String> {
    let tried = where_proc_is_hidden("true").output();
    let text = match tried {
        Ok(output) if output.status.success() => return None,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Some(format!("/proc cannot be hidden here: {text}"))
}

/// A program that runs where `/proc` is empty; its arguments can be added.
fn where_proc_is_hidden(program: &str) -> Command {
    let mut command = after_mounts("mount -t tmpfs none /proc && exec \"$0\" \"$@\"");
    command.arg(program);
    command
}

/// A script that runs with mounts of its own; its arguments, from $0 on, can be added.
pub fn after_mounts(script: &str) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-euc", script]);
    command
}

fn serve_fails_without_proc_and_reports_it() {
    let world = World::new();
    let mut serve = where_proc_is_hidden(&binary());
    serve.args(["serve", "--config"]).arg(world.write_config());
    let output = serve.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert!(stderr.contains("mount /proc"), "{stderr}");
}

/// As in a container, where the process id of the service is 0.
fn the_owner_of_a_service_outside_of_the_pid_namespace_is_checked() {
    let mut world = World::new();
    // In the namespace, the user of this test is root too.
    world.settings.rest = "[services.ours]\nowner = 0\n".to_owned();
    let _service = world.service("ours", answer("up 1\n"));
    let mut serve = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        serve.args(["--user", "--map-root-user"]);
    }
    serve.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    serve.args([&binary(), "serve", "--config"]);
    serve.arg(world.write_config());
    let aegis = Aegis::spawn(serve);
    let scraped = world.prometheus(&aegis).get("/ours");
    assert_eq!((scraped.status, &*scraped.text()), (200, "up 1\n"));
}
