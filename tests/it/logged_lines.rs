//! Which lines the log has, and how journald sees them.

use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::harness::aegis::command;
use crate::harness::{World, answer};

/// How often a good scrape, a failed one and a list of services are logged with this setting.
fn logged_scrapes(setting: &str) -> [usize; 3] {
    let mut world = World::new();
    world.settings.rest = format!("[services.gone]\n[log]\nscrapes = {setting:?}\n");
    let _node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().status, 200);
    assert_eq!(connection.get("/gone").unwrap().status, 502);
    // Its line comes after those of the scrapes.
    assert_eq!(connection.get("/-/sd").unwrap().status, 200);
    aegis.logged(&["shown", "path=\"/-/sd\""]);
    [
        aegis.count_logged(&["scraped ", "service=node"]),
        aegis.count_logged(&["scrape failed", "service=gone"]),
        aegis.count_logged(&["INFO shown", "path=\"/-/sd\""]),
    ]
}

#[test]
fn log_scrapes_selects_the_lines_of_scrapes() {
    assert_eq!(logged_scrapes("all"), [1, 1, 1]);
    assert_eq!(logged_scrapes("failed"), [0, 1, 0]);
    assert_eq!(logged_scrapes("none"), [0, 0, 0]);
}

/// The first lines that aegis writes to a socket, which journald may have given it.
fn first_lines(is_journal: bool) -> Vec<String> {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"\nadmin_socket_mode = \"0666\"".to_owned();
    let (ours, stderr) = UnixStream::pair().unwrap();
    let stat = rustix::fs::fstat(stderr.as_fd()).unwrap();
    let inode = if is_journal {
        stat.st_ino
    } else {
        stat.st_ino + 1
    };
    let mut serve = command();
    serve.args(["serve", "--config"]).arg(world.write_config());
    serve.env("JOURNAL_STREAM", format!("{}:{inode}", stat.st_dev));
    serve.stderr(Stdio::from(std::os::fd::OwnedFd::from(stderr)));
    let mut aegis = serve.spawn().unwrap();
    drop(serve);
    let lines = BufReader::new(ours).lines().map(Result::unwrap);
    let mut read = Vec::new();
    for line in lines {
        let is_ready = line.contains(" ready ");
        read.push(line);
        if is_ready {
            break;
        }
    }
    aegis.kill().unwrap();
    aegis.wait().unwrap();
    read
}

#[test]
fn lines_carry_their_priority_under_journald() {
    let lines = first_lines(true);
    let of = |text: &str| lines.iter().find(|line| line.contains(text)).unwrap();
    assert!(
        of(" WARN admin_socket_mode").starts_with("<4>2"),
        "{lines:?}"
    );
    assert!(of(" INFO ready").starts_with("<6>2"), "{lines:?}");
    // JOURNAL_STREAM is of another stream.
    let lines = first_lines(false);
    assert!(lines.iter().all(|line| line.starts_with('2')), "{lines:?}");
}

#[test]
fn faults_of_a_start_carry_their_priority_under_journald() {
    let mut world = World::new();
    world.settings.limits = "conections = 3".to_owned();
    let (ours, stderr) = UnixStream::pair().unwrap();
    let stat = rustix::fs::fstat(stderr.as_fd()).unwrap();
    let mut serve = command();
    serve.args(["serve", "--config"]).arg(world.write_config());
    serve.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    serve.stderr(Stdio::from(std::os::fd::OwnedFd::from(stderr)));
    assert_eq!(serve.status().unwrap().code(), Some(78));
    drop(serve);
    let lines: Vec<String> = BufReader::new(ours).lines().map(Result::unwrap).collect();
    assert!(
        lines[0].contains("limits.conections: unknown key"),
        "{lines:?}"
    );
    assert!(
        lines.iter().all(|line| line.starts_with("<3>aegis: ")),
        "{lines:?}"
    );
}
