//! The sandbox: its layers are active, they deny access, and aegis works inside it.

use std::process::Output;

use crate::harness::aegis::command;
use crate::harness::kernel::{LANDLOCK, where_calls_fail, without_so_passrights};
use crate::harness::{Aegis, World, answer, folder};

fn sandbox(world: &World) -> Output {
    let mut sandbox = command();
    sandbox.args(["sandbox", "--config"]);
    sandbox.arg(world.write_config()).output().unwrap()
}

#[test]
fn the_sandbox_blocks_every_escape_and_allows_a_reload() {
    let world = World::new();
    let output = sandbox(&world);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    for call in [
        "open a TCP connection",
        "listen on a TCP port",
        "open a UDP socket",
        "connect an open TCP socket",
        "send from it to an address (TCP Fast Open)",
        "change a limit of another process",
        "run a program",
        "start a thread",
        "make a directory",
        "remove a file",
    ] {
        assert!(
            stdout.contains(&format!("denied: {call} (")),
            "{call}\n{stdout}"
        );
    }
    assert!(stdout.contains("works: reload"), "{stdout}");
    // docs/reference.md names this number.
    let tried = stdout
        .lines()
        .filter(|line| line.contains(": ") && !line.starts_with("works"));
    assert_eq!(
        tried
            .filter(|line| !line.starts_with("the sandbox"))
            .count(),
        15,
        "{stdout}"
    );
}

#[test]
fn without_landlock_seccomp_alone_blocks_tcp() {
    let world = World::new();
    let file = world.write_config();
    let temporary = folder();
    let directory = temporary.path().to_owned();
    let output = where_calls_fail(LANDLOCK, libc::ENOSYS, move || {
        let mut sandbox = command();
        sandbox.env("TMPDIR", directory);
        sandbox.args(["sandbox", "--config"]).arg(file);
        sandbox.output().unwrap()
    });
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.contains("the sandbox has no landlock_tcp: "),
        "{stdout}"
    );
    for call in [
        "open a TCP connection",
        "listen on a TCP port",
        "connect an open TCP socket",
        "send from it to an address (TCP Fast Open)",
    ] {
        let denied = format!("denied: {call} (seccomp)");
        assert!(stdout.contains(&denied), "{call}\n{stdout}");
    }
    // seccomp would deny the removal of a file.
    assert!(stdout.contains("possible: write a file\n"), "{stdout}");
    assert_eq!(temporary.path().read_dir().unwrap().count(), 0);
}

#[test]
fn without_a_sandbox_escapes_succeed_with_a_warning() {
    let mut world = World::new();
    world.settings.top = "unsafe_no_sandbox = true".to_owned();
    let output = String::from_utf8(sandbox(&world).stdout).unwrap();
    assert!(output.contains("possible: open a UDP socket"), "{output}");
    assert!(output.contains("possible: read a file"), "{output}");
    let aegis = world.start();
    aegis.logged(&["WARN", "unsafe_no_sandbox: a compromised aegis"]);
    let own = world.prometheus(&aegis).get("/metrics").text();
    assert!(
        own.contains("aegis_sandbox_active{kind=\"seccomp\"} 0"),
        "{own}"
    );
    world.settings.top += "\nsandbox = \"required\"";
    let both = sandbox(&world);
    assert_eq!(both.status.code(), Some(78));
    let output = String::from_utf8(both.stderr).unwrap();
    assert!(
        output.contains("unsafe_no_sandbox: contradicts"),
        "{output}"
    );
}

#[test]
fn active_sandbox_layers_are_logged_and_exported() {
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
fn a_sandboxed_process_follows_replaced_files_and_directories() {
    let world = World::new();
    let _node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    // The socket directory is created again, as by RuntimeDirectory= when a service restarts.
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
    // A certificate is renewed next to the old one and renamed over it.
    world.pki.server().write(world.folder.path(), "new");
    for kind in ["pem", "key"] {
        let (new, old) = (format!("new.{kind}"), format!("server.{kind}"));
        std::fs::rename(world.path(&new), world.path(&old)).unwrap();
    }
    aegis.logged(&["reloaded"]);
    assert_eq!(world.prometheus(&aegis).get("/again").status, 200);
}

#[test]
fn an_unprivileged_user_can_run_aegis() {
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
fn every_worker_thread_serves_inside_the_sandbox() {
    let world = World::new();
    let config = world.write_config();
    let serving = |aegis: &Aegis| {
        let statuses = sealed_threads(aegis);
        // Some threads read files, open files or close sockets, and do not serve.
        let serves = |status: &&String| {
            let helpers = ["closer", "files", "reload-files", "reader"];
            !helpers
                .iter()
                .any(|name| status.starts_with(&format!("Name:\t{name}\n")))
        };
        statuses.iter().filter(serves).count()
    };
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(serving(&world.start()), cores.min(4));
    // On kernels where sockets cannot refuse descriptors, two threads close connections.
    let older = without_so_passrights(move || Aegis::start(&config, &[]));
    assert_eq!(serving(&older), cores.min(4));
    // Eight threads open sockets and list directories, which can block. One reads the
    // configuration, with eight that query the file systems.
    let others = 3 + 8 + 8;
    assert_eq!(sealed_threads(&older).len(), cores.min(4) + others);
    // The units allow this many threads on any host.
    for unit in ["aegis.service", "aegis-listen.service"] {
        let text = std::fs::read_to_string(format!("deploy/systemd/{unit}")).unwrap();
        let most = text.lines().find_map(|line| line.strip_prefix("TasksMax="));
        let most: usize = most.unwrap().parse().unwrap();
        assert!(most > 4 + others, "{unit}: {most}");
    }
}

/// The status of each thread. All threads must have the seccomp filter.
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
