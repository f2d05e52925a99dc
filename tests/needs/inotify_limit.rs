//! Needs a user namespace: a limit of its own for inotify instances.

use std::process::Command;

use crate::Tests;
use crate::harness::aegis::{binary, command_of};
use crate::harness::{Aegis, World, answer};

pub const TESTS: Tests = tests![files_are_polled_and_it_is_reported_if_they_cannot_be_watched];

pub fn missing() -> Option<String> {
    let text = match without_inotify("true").output() {
        Ok(output) if output.status.success() => return None,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Some(format!("inotify cannot be limited here: {text}"))
}

/// A program that can have no inotify instance; its arguments can be added.
fn without_inotify(program: &str) -> Command {
    let mut command = command_of("unshare");
    let script = "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
    command.args(["--user", "--map-root-user", "sh", "-euc", script]);
    command.arg(program);
    command
}

fn files_are_polled_and_it_is_reported_if_they_cannot_be_watched() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    // Written once: another write is a change.
    let config = world.write_config();
    let watching = Aegis::start(&config, &[]);
    let mut serve = without_inotify(&binary());
    serve.args(["serve", "--config"]).arg(&config);
    let polling = Aegis::spawn(serve);
    let line = polling.logged(&["polls its files every 500ms: "]);
    assert!(line.contains("fs.inotify.max_user_instances"), "{line}");
    for (aegis, expected) in [(&watching, "0"), (&polling, "1")] {
        let metrics = world.prometheus(aegis).get("/metrics").text();
        let line = format!("\naegis_config_polling {expected}\n");
        assert!(metrics.contains(&line), "{metrics}");
        assert_eq!(aegis.count_logged(&["INFO reloaded"]), 0);
    }
    // A new certificate, without a signal.
    world.pki.server().write(&world.path(""), "server");
    for aegis in [&watching, &polling] {
        aegis.logged(&["INFO reloaded"]);
    }
    assert_eq!(watching.count_logged(&["polls its files"]), 0);
    assert_eq!(polling.count_logged(&["polls its files"]), 1);
}
