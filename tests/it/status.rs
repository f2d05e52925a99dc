//! The status page and its JSON: a scraper sees what it may scrape, and nothing else.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::Value;

use crate::harness::{Aegis, Answer, Connection, World, admin_socket, allow, answer};

const AS_JSON: &str = "Accept: application/json\r\n";

fn json(shown: &Answer) -> Value {
    assert_eq!(shown.status, 200);
    assert_eq!(shown.header("Content-Type"), Some("application/json"));
    serde_json::from_slice(&shown.body).unwrap()
}

fn fetch_status(connection: &mut Connection) -> Value {
    json(&connection.request("GET", "/", AS_JSON).unwrap())
}

#[test]
fn the_page_shows_the_identity_and_each_service() {
    let mut world = World::new();
    world.settings.rest = "[services.planned]\n".to_owned();
    let _node = world.service("node", answer("up 1\n"));
    let _broken = world.service("broken", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let _waiting = world.service("waiting", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().status, 200);
    assert_eq!(connection.get("/broken").unwrap().status, 502);

    let page = connection.get("/").unwrap();
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("Content-Type"),
        Some("text/html; charset=utf-8")
    );
    let text = page.text();
    for part in [
        "dns:prometheus.example.org",
        "allow[0]",
        "broken.sock",
        "The service did not answer with status 200.",
        "Check the service&#39;s log",
        "Start the service; it creates its socket when it listens.",
        "The server certificate",
        "The client CA",
    ] {
        let part = part.replace("&#39;", "'");
        assert!(text.contains(&part), "{part}\n{text}");
    }

    let status = fetch_status(&mut connection);
    assert_eq!(status["you"]["identity"], "dns:prometheus.example.org");
    assert_eq!(status["you"]["address"], "127.0.0.1");
    let entry = status["you"]["admitted_by"][0].as_str().unwrap();
    assert!(
        entry.starts_with("allow[0] (") && entry.contains("aegis.toml:"),
        "{entry}"
    );
    let service = |index: usize| &status["services"][index];
    let [broken, node, planned, waiting] = [0, 1, 2, 3].map(service);
    assert_eq!([&broken["name"], &broken["state"]], ["broken", "failing"]);
    assert_eq!(broken["problem"]["reason"], "status");
    assert_eq!(broken["last_failure"]["stage"], "respond");
    assert_eq!([&node["name"], &node["state"]], ["node", "up"]);
    assert_eq!(node["last_scrape"]["bytes"], 5);
    assert_eq!(node["socket"], world.socket("node").to_str().unwrap());
    assert_eq!(
        [&planned["name"], &planned["problem"]["reason"]],
        ["planned", "missing"]
    );
    assert_eq!(
        [&waiting["name"], &waiting["state"]],
        ["waiting", "not scraped yet"]
    );
    assert_eq!(status["configuration"]["last_reload_successful"], true);
}

#[test]
fn failing_services_come_first_on_the_page() {
    let mut world = World::new();
    world.settings.rest = "[services.planned]\n".to_owned();
    let _services = ["node", "waiting"].map(|name| world.service(name, answer("up 1\n")));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().status, 200);
    let text = connection.get("/").unwrap().text();
    assert!(text.contains(": 1 failing – aegis</title>"), "{text}");
    assert!(
        text.contains("1 failing, 1 not scraped yet, 1 up"),
        "{text}"
    );
    let places = ["planned", "waiting", "node"].map(|name| {
        let link = format!("<a href=\"/{name}\">{name}</a>");
        text.find(&link).unwrap_or_else(|| panic!("{link}\n{text}"))
    });
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn a_service_whose_socket_returned_is_neither_up_nor_failing() {
    let world = World::new();
    let node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    drop(node);
    assert_eq!(connection.get("/node").unwrap().status, 502);
    assert_eq!(
        fetch_status(&mut connection)["services"][0]["state"],
        "failing"
    );
    let _again = world.service("node", answer("up 1\n"));
    assert_eq!(
        fetch_status(&mut connection)["services"][0]["state"],
        "returned"
    );
    assert_eq!(connection.get("/node").unwrap().status, 200);
    assert_eq!(fetch_status(&mut connection)["services"][0]["state"], "up");
}

#[test]
fn the_page_shows_a_directory_with_any_name() {
    let world = World::new();
    let _node = world.service("node", answer("up 1\n"));
    world.write_config();
    let folder = world.folder.path().join(OsStr::from_bytes(b"caf\xe9"));
    symlink(world.folder.path(), &folder).unwrap();
    let aegis = Aegis::start(&folder.join("aegis.toml"), &[]);
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let shown = fetch_status(&mut connection)["services"][0]["socket"].to_string();
    assert!(shown.contains("caf\u{fffd}/services/node.sock"), "{shown}");
}

#[test]
fn the_page_reports_that_no_scrape_can_succeed() {
    let world = World::new();
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(fetch_status(&mut connection)["not_ready"], Value::Null);
    let text = connection.get("/").unwrap().text();
    assert!(!text.contains("warning – aegis</title>"), "{text}");
    std::fs::remove_dir(world.path("services")).unwrap();
    let why = "the socket directory is missing";
    assert_eq!(fetch_status(&mut connection)["not_ready"], why);
    let text = connection.get("/").unwrap().text();
    assert!(text.contains(": 1 warning – aegis</title>"), "{text}");
    assert!(text.contains("The socket directory is missing."), "{text}");
}

#[test]
fn a_socket_directory_that_aegis_may_not_read_is_not_called_missing() {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    let _node = world.service("node", answer("up 1\n"));
    let _aegis = world.start_without_privilege();
    let admin = world.path("admin.sock");
    let ready = || admin_socket::request(&admin, "GET", "/-/ready", "");
    assert_eq!(ready().status, 200);
    let mode = |bits| {
        let services = world.path("services");
        std::fs::set_permissions(services, Permissions::from_mode(bits)).unwrap();
    };
    mode(0o000);
    let unready = ready();
    mode(0o755);
    assert_eq!(unready.status, 503);
    let why = "not ready: the socket directory cannot be read: Permission denied; let aegis's user read and enter it\n";
    assert_eq!(unready.text(), why);
    assert_eq!(ready().status, 200);
}

#[test]
fn a_service_that_recovers_keeps_its_last_failure() {
    let world = World::new();
    let broken = world.service("node", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().status, 502);
    drop(broken);
    let _mended = world.service("node", answer("up 1\n"));
    assert_eq!(connection.get("/node").unwrap().status, 200);
    let node = &fetch_status(&mut connection)["services"][0];
    assert_eq!(node["state"], "up");
    assert_eq!(node["last_failure"]["reason"], "status");
    // Details are only for the operator.
    assert_eq!(node["last_failure"]["detail"], Value::Null);
    assert!(connection.get("/").unwrap().text().contains("Last failed"));
}

#[test]
fn the_page_hides_services_that_are_not_granted() {
    let mut world = World::new();
    let name = format!(r#""dns:{}""#, crate::harness::PROMETHEUS);
    world.settings.allow = allow(r#""127.0.0.1""#, &name, r#""granted""#)
        + &allow(
            r#""127.0.0.1""#,
            r#""dns:other.example.org""#,
            r#""secret""#,
        );
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    let _services = ["granted", "secret"].map(|name| world.service(name, answer("up 1\n")));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(connection.get("/secret").unwrap().status, 404);
    // A broken file may also contain the name.
    std::fs::write(world.path("aegis.toml"), "[services.secret]\nx = 1\n").unwrap();
    aegis.logged(&["not reloaded", "secret"]);
    for headers in ["", AS_JSON] {
        let shown = connection.request("GET", "/", headers).unwrap().text();
        assert!(shown.contains("granted"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
    assert_eq!(
        fetch_status(&mut connection)["configuration"]["last_reload_successful"],
        false
    );
    assert!(
        connection
            .get("/")
            .unwrap()
            .text()
            .contains("is invalid and not in force")
    );
    let all = admin_socket::request(&world.path("admin.sock"), "GET", "/", "").text();
    assert!(all.contains("services.secret.x: unknown key"), "{all}");
    // Services cannot be scraped on the admin socket, so the page has no links to them.
    assert!(!all.contains("<a href=\"/secret"), "{all}");
}

#[test]
fn the_page_escapes_names_and_forbids_scripts() {
    let mut world = World::new();
    world.settings.allow = allow(r#""127.0.0.1""#, r#""*""#, r#""*""#);
    let aegis = world.start();
    let uri = "https://a.example/<script>alert('1')</script>";
    let hostile = world.pki.client_with(|params| {
        params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    });
    let page = world.scraper(&aegis, Some(&hostile)).get("/");
    let text = page.text();
    assert!(text.contains("&lt;script&gt;"), "{text}");
    assert!(
        !text.contains("<script") && !text.contains(" style="),
        "{text}"
    );
    let policy = page.header("Content-Security-Policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    // The browser applies the style only if its digest matches.
    let style = text.split("<style>").nth(1).unwrap();
    let style = style.split("</style>").next().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let digest = data_encoding::BASE64.encode(digest.as_ref());
    assert!(policy.contains(&format!("'sha256-{digest}'")), "{policy}");
    assert_eq!(page.header("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(page.header("Cache-Control"), Some("no-store"));
}
