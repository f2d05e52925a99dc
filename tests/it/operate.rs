//! `aegis status`, `aegis reload` and `aegis forget`, which ask a running aegis.

use std::os::unix::net::UnixListener;
use std::process::Output;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::aegis::{command, run};
use crate::harness::{World, answer, wait_until};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn world() -> World {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    world
}

fn operate(world: &World, arguments: &[&str]) -> Output {
    let mut operate = command();
    operate.args(arguments);
    operate.arg("--config").arg(world.path("aegis.toml"));
    operate.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn status_lists_failing_services_first_with_reason_and_remedy() {
    let world = world();
    let _good = world.service("app", answer("up 1\n"));
    drop(UnixListener::bind(world.socket("web")).unwrap());
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/app").status, 200);
    assert_eq!(scraper.get("/web").status, 502);
    // aegis counts a scrape after it has written the answer.
    aegis.logged(&["scraped", "service=app"]);
    aegis.logged(&["scrape failed", "service=web"]);
    let output = operate(&world, &["status"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    let host = rustix::system::uname();
    let host = host.nodename().to_str().unwrap();
    let first = format!("aegis {} on {host}, ", env!("CARGO_PKG_VERSION"));
    assert!(lines[0].starts_with(&first), "{text}");
    let heading = lines.iter().position(|line| line.starts_with("SERVICE "));
    let [failing, remedy, past, good] = lines[heading.unwrap() + 1..] else {
        panic!("{text}");
    };
    assert!(failing.starts_with("web      failing "), "{text}");
    let reason = "connect: nothing accepts connections on the socket (Connection refused";
    assert!(failing.contains(reason), "{text}");
    assert!(failing.ends_with(')'), "{text}");
    assert!(remedy.starts_with("    Start the service; "), "{text}");
    assert!(past.starts_with("    Failing since 2"), "{text}");
    let end = "; failures in the last hour: 1; last success: none.";
    assert!(past.ends_with(end), "{text}");
    assert!(good.starts_with("app      up "), "{text}");
    assert!(good.ends_with(" 5 bytes"), "{text}");
    let json = operate(&world, &["status", "--format", "json"]);
    let status: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(status["services"].as_array().unwrap().len(), 2);
}

#[test]
fn status_says_what_aegis_refused_and_that_its_lists_are_incomplete() {
    let world = world();
    let aegis = world.start();
    let status = || stdout(&operate(&world, &["status"]));
    let text = status();
    let services = world.path("services");
    let none = format!("\nno service has a socket in {} yet\n", services.display());
    assert!(text.ends_with(&none), "{text}");
    assert!(!text.contains("SERVICE"), "{text}");
    assert!(!text.contains("refused since start"), "{text}");
    assert_eq!(world.prometheus(&aegis).get("/absent").status, 404);
    aegis.logged(&["reason=unknown_service"]);
    let nameless = world.scraper(&aegis, None);
    wait_until(|| nameless.try_get("/").is_err());
    aegis.logged(&["reason=no_certificate"]);
    let text = status();
    assert!(text.contains("\nrefused since start: "), "{text}");
    for part in [
        " handshake no_certificate",
        ", 1 authorize unknown_service\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    for number in 0..=1000 {
        std::fs::write(world.socket(&format!("service-{number:04}")), "").unwrap();
    }
    let text = status();
    let truncated = format!(
        "\nservices are missing here and from discovery: {} holds more files than aegis lists",
        services.display()
    );
    assert!(text.contains(&truncated), "{text}");
    let page = world.prometheus(&aegis).get("/").text();
    let notice = "<h2>Services are missing from this page and from discovery</h2>";
    assert!(page.contains(notice), "{page}");
}

#[test]
fn status_warns_once_of_a_certificate_that_expires_soon() {
    let world = world();
    let certificate = world.pki.client_with(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let now = SystemTime::now();
        params.not_before = (now - 20 * DAY).into();
        params.not_after = (now + 2 * DAY).into();
    });
    certificate.write(world.folder.path(), "server");
    let _aegis = world.start();
    let text = stdout(&operate(&world, &["status"]));
    assert!(
        text.contains("\nthe server certificate (CN=leaf) expires at 2"),
        "{text}"
    );
    assert_eq!(text.matches("CN=leaf").count(), 1, "{text}");
}

#[test]
fn status_shows_the_remedy_and_detail_of_the_present_problem() {
    let mut world = world();
    world.settings.rest = "[services.planned]\n".to_owned();
    let broken = world.service("node", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let aegis = world.start();
    assert_eq!(world.prometheus(&aegis).get("/node").status, 502);
    aegis.logged(&["scrape failed", "service=node"]);
    let status = || stdout(&operate(&world, &["status"]));
    let text = status();
    assert!(text.contains(" (status 500)\n"), "{text}");
    drop(broken);
    let text = status();
    assert!(
        text.contains("missing: the service's socket does not exist\n"),
        "{text}"
    );
    for end in [
        "run aegis forget node.",
        "remove it from the configuration, which names it.",
    ] {
        assert!(
            text.contains(&format!(" If it is gone for good, {end}\n")),
            "{text}"
        );
    }
}

#[test]
fn commands_for_a_running_aegis_explain_their_exit_codes() {
    for command in ["status", "reload", "forget", "health"] {
        let help = stdout(&run(&[command, "--help"]));
        for part in ["Asks a running aegis on its admin socket", "Exit codes: 0 "] {
            assert!(help.contains(part), "{part}\n{help}");
        }
    }
}

#[test]
fn reload_prints_the_faults_and_fails() {
    let mut world = world();
    let _aegis = world.start();
    let done = operate(&world, &["reload"]);
    assert_eq!(
        (done.status.code(), stdout(&done).as_str()),
        (Some(0), "reloaded\n")
    );
    world.settings.rest = "[services.node]\ncolour = \"red\"\n".to_owned();
    world.write_config();
    let failed = operate(&world, &["reload"]);
    assert_eq!(failed.status.code(), Some(1));
    let text = stderr(&failed);
    assert!(text.starts_with("aegis: not reloaded: "), "{text}");
    assert!(text.contains("services.node.colour"), "{text}");
    let status = stdout(&operate(&world, &["status"]));
    assert!(status.contains("\nreloads fail since 2"), "{status}");
    let json = operate(&world, &["reload", "--format", "json"]);
    assert_eq!(json.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["ok"], Value::Bool(false));
    assert!(report["messages"][1].as_str().unwrap().contains("colour"));
}

#[test]
fn forget_takes_only_a_service_whose_socket_is_gone() {
    let world = world();
    let node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    assert_eq!(world.prometheus(&aegis).get("/node").status, 200);
    aegis.logged(&["scraped", "service=node"]);
    let kept = operate(&world, &["forget", "node"]);
    assert_eq!(kept.status.code(), Some(1));
    assert_eq!(
        stderr(&kept),
        "aegis: not forgotten: its socket exists; if the service is gone for good, remove that file first\n"
    );
    drop(node);
    let status = stdout(&operate(&world, &["status"]));
    assert!(status.contains(" It is forgotten at 2"), "{status}");
    let forgotten = operate(&world, &["forget", "node"]);
    assert_eq!(
        (forgotten.status.code(), stdout(&forgotten).as_str()),
        (Some(0), "forgotten\n")
    );
    assert_eq!(world.prometheus(&aegis).get("/node").status, 404);
    assert_eq!(operate(&world, &["forget", "node"]).status.code(), Some(1));
    assert_eq!(
        operate(&world, &["forget", "../node"]).status.code(),
        Some(2)
    );
}

#[test]
fn without_an_admin_socket_the_command_says_what_to_set() {
    let world = World::new();
    world.write_config();
    for arguments in [&["status"][..], &["reload"], &["forget", "node"]] {
        let output = operate(&world, arguments);
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        let found = format!("{} sets none; ", world.path("aegis.toml").display());
        let problem = format!("aegis: no admin socket is configured: {found}");
        assert!(text.starts_with(&problem), "{text}");
    }
    let away = run(&["status", "--admin-socket", "/nonexistent/admin.sock"]);
    assert_eq!(away.status.code(), Some(1));
    assert!(stderr(&away).contains("no aegis answers on /nonexistent/admin.sock ("));
}

#[test]
fn a_change_that_needs_a_restart_is_reported() {
    let mut world = world();
    let aegis = world.start();
    world.settings.top = "admin_socket = \"other.sock\"".to_owned();
    world.settings.rest = "[log]\nscrapes = \"none\"".to_owned();
    world.write_config();
    let socket = world.path("admin.sock").display().to_string();
    let ask = |world: &World, command| operate(world, &[command, "--admin-socket", &socket]);
    let expected = "changes of admin_socket, log.scrapes need a restart";
    assert_eq!(
        stdout(&ask(&world, "reload")),
        format!("reloaded\n{expected}\n")
    );
    aegis.logged(&["WARN", expected, "; everything else was reloaded"]);
    let status = stdout(&ask(&world, "status"));
    assert!(status.contains(&format!("\n{expected}\n")), "{status}");
    // The configuration is again the one that aegis runs with.
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    world.settings.rest = String::new();
    world.write_config();
    assert_eq!(stdout(&ask(&world, "reload")), "reloaded\n");
}
