//! The kernel's walls around the process: they stand, they hold, and nothing is lost behind them.

use std::process::Output;

use crate::harness::aegis::command;
use crate::harness::kernel::{LANDLOCK, where_calls_fail, without_so_passrights};
use crate::harness::{Aegis, World, answer};

fn sandbox(world: &World) -> Output {
    let mut sandbox = command();
    sandbox.args(["sandbox", "--config"]);
    sandbox.arg(world.write_config()).output().unwrap()
}

#[test]
fn from_inside_no_way_leads_out_and_a_reload_works() {
    let world = World::new();
    let output = sandbox(&world);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for call in [
        "open a TCP connection",
        "listen on a TCP port",
        "open a UDP socket",
        "connect a TCP socket that is there",
        "send by it to an address (TCP Fast Open)",
        "change a limit of a process by its number",
        "run a program",
        "start a thread",
        "make a directory",
        "remove a file",
    ] {
        assert!(
            said.contains(&format!("denied: {call} (")),
            "{call}\n{said}"
        );
    }
    assert!(said.contains("works: reload"), "{said}");
    // The README says how many.
    let tried = said
        .lines()
        .filter(|line| line.contains(": ") && !line.starts_with("works"));
    assert_eq!(
        tried
            .filter(|line| !line.starts_with("the sandbox"))
            .count(),
        15,
        "{said}"
    );
}

#[test]
fn where_landlock_is_missing_seccomp_alone_keeps_tcp_in() {
    let world = World::new();
    let file = world.write_config();
    let output = where_calls_fail(LANDLOCK, libc::ENOSYS, move || {
        let mut sandbox = command();
        sandbox.args(["sandbox", "--config"]).arg(file);
        sandbox.output().unwrap()
    });
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("the sandbox has no landlock_tcp: "), "{said}");
    for call in [
        "open a TCP connection",
        "listen on a TCP port",
        "connect a TCP socket that is there",
        "send by it to an address (TCP Fast Open)",
    ] {
        let denied = format!("denied: {call} (seccomp)");
        assert!(said.contains(&denied), "{call}\n{said}");
    }
}

#[test]
fn without_a_sandbox_the_ways_are_open_and_it_is_loud() {
    let mut world = World::new();
    world.settings.top = "unsafe_no_sandbox = true".to_owned();
    let said = String::from_utf8(sandbox(&world).stdout).unwrap();
    assert!(said.contains("possible: open a UDP socket"), "{said}");
    assert!(said.contains("possible: read a file"), "{said}");
    let aegis = world.start();
    aegis.logged(&["WARN", "unsafe_no_sandbox: whoever takes aegis over"]);
    let own = world.prometheus(&aegis).get("/metrics").text();
    assert!(
        own.contains("aegis_sandbox_active{kind=\"seccomp\"} 0"),
        "{own}"
    );
    world.settings.top += "\nsandbox = \"required\"";
    let both = sandbox(&world);
    assert_eq!(both.status.code(), Some(78));
    let said = String::from_utf8(both.stderr).unwrap();
    assert!(said.contains("unsafe_no_sandbox: contradicts"), "{said}");
}

#[test]
fn what_stands_is_said_and_counted() {
    let world = World::new();
    let aegis = world.start();
    aegis.logged(&[
        "ready",
        "sandbox=\"no_new_privileges not_dumpable",
        "seccomp\"",
    ]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", aegis.pid())).unwrap();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap();
    assert_eq!(line("NoNewPrivs"), "NoNewPrivs:\t1");
    // A filter (SECCOMP_MODE_FILTER).
    assert_eq!(line("Seccomp:"), "Seccomp:\t2");
    let own = world.prometheus(&aegis).get("/metrics").text();
    assert!(
        own.contains("aegis_sandbox_active{kind=\"seccomp\"} 1"),
        "{own}"
    );
}

#[test]
fn a_sealed_process_goes_on_with_files_and_directories_that_are_replaced() {
    let world = World::new();
    let _node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    // The socket directory is made anew, as by RuntimeDirectory= at a service's restart.
    std::fs::rename(world.path("services"), world.path("old")).unwrap();
    std::fs::create_dir(world.path("services")).unwrap();
    let _again = world.service("again", answer("up 2\n"));
    assert_eq!(world.prometheus(&aegis).get("/again").text(), "up 2\n");
    assert!(
        world
            .prometheus(&aegis)
            .get("/-/sd")
            .text()
            .contains("/again")
    );
    // A certificate is renewed beside the old one and renamed over it.
    world.pki.server().write(world.folder.path(), "new");
    for kind in ["pem", "key"] {
        let (new, old) = (format!("new.{kind}"), format!("server.{kind}"));
        std::fs::rename(world.path(&new), world.path(&old)).unwrap();
    }
    aegis.logged(&["reloaded"]);
    assert_eq!(world.prometheus(&aegis).get("/again").status, 200);
}

#[test]
fn a_user_of_no_privilege_is_served_the_same() {
    let mut world = World::new();
    world.settings.rest = "[services.node]\nowner = \"root\"\n".to_owned();
    let _other = world.service("other", answer("up 1\n"));
    let aegis = world.start_without_privilege();
    assert_eq!(world.prometheus(&aegis).get("/other").text(), "up 1\n");
    let own = world.prometheus(&aegis).get("/metrics").text();
    for series in [
        "process_cpu_seconds_total ",
        "process_open_fds ",
        "process_max_fds ",
    ] {
        assert!(
            own.lines().any(|line| line.starts_with(series)),
            "{series}\n{own}"
        );
    }
    aegis.signal(rustix::process::Signal::HUP);
    aegis.logged(&["reloaded"]);
}

#[test]
fn a_thread_for_each_core_serves_and_every_one_is_sealed() {
    let world = World::new();
    let config = world.write_config();
    let serving = |aegis: &Aegis| {
        let statuses = sealed_threads(aegis);
        let is_closer = |status: &&String| status.starts_with("Name:\tcloser\n");
        statuses.iter().filter(|status| !is_closer(status)).count()
    };
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(serving(&world.start()), cores.min(4));
    // Two close connections, where sockets cannot refuse descriptors.
    let older = without_so_passrights(move || Aegis::start(&config, &[]));
    assert_eq!(serving(&older), cores.min(4));
    assert_eq!(sealed_threads(&older).len(), cores.min(4) + 2);
}

/// The status of each thread, all of which must be sealed.
fn sealed_threads(aegis: &Aegis) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", aegis.pid())).unwrap();
    let statuses = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")));
    let statuses: Vec<String> = statuses.map(Result::unwrap).collect();
    for status in &statuses {
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(
                status.lines().any(|found| found == line),
                "{line}\n{status}"
            );
        }
    }
    statuses
}
