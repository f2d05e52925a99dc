//! What the status page and its JSON show of the past of each service, and of aegis itself.

use serde_json::Value;

use crate::harness::{Answer, Connection, World, admin_socket, allow, answer, wait_until};

const AS_JSON: &str = "Accept: application/json\r\n";
const BROKEN: &str = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";

fn world() -> World {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    world
}

fn parsed(shown: &Answer) -> Value {
    assert_eq!(shown.status, 200);
    serde_json::from_slice(&shown.body).unwrap()
}

fn fetch_status(connection: &mut Connection) -> Value {
    parsed(&connection.request("GET", "/", AS_JSON).unwrap())
}

fn page(connection: &mut Connection) -> String {
    let page = connection.get("/").unwrap();
    assert_eq!(page.status, 200);
    page.text()
}

/// The page and the JSON as an operator sees them.
fn as_operator(world: &World) -> (String, Value) {
    let request = |headers| admin_socket::request(&world.path("admin.sock"), "GET", "/", headers);
    (request("").text(), parsed(&request(AS_JSON)))
}

fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_str().unwrap().to_owned()
}

#[test]
fn title_heading_and_json_name_the_host() {
    let world = World::new();
    let _broken = world.service("broken", BROKEN);
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let text = page(&mut connection);
    let host = host();
    for part in [
        format!("<title>{host} – aegis</title>"),
        format!("<h1>{host}</h1>"),
    ] {
        assert!(text.contains(&part), "{part}\n{text}");
    }
    connection.get("/broken").unwrap();
    let text = page(&mut connection);
    for part in [
        format!("<title>{host}: 1 failing – aegis</title>"),
        format!("<h1>{host}: 1 failing</h1>"),
    ] {
        assert!(text.contains(&part), "{part}\n{text}");
    }
    assert_eq!(fetch_status(&mut connection)["host"], host);
}

#[test]
fn a_failing_service_shows_since_when_and_how_often_it_fails() {
    let world = World::new();
    let good = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    connection.get("/node").unwrap();
    let before = fetch_status(&mut connection)["services"][0].clone();
    assert_eq!(before["last_success"], before["last_scrape"]["at"]);
    assert_eq!(before["failing_since"], Value::Null);
    assert_eq!(before["failures_last_hour"], 0);

    drop(good);
    let broken = world.service("node", BROKEN);
    connection.get("/node").unwrap();
    let since = fetch_status(&mut connection)["services"][0]["failing_since"].clone();
    assert!(since.is_string());
    connection.get("/node").unwrap();
    connection.get("/node").unwrap();
    let failing = fetch_status(&mut connection)["services"][0].clone();
    assert_eq!(failing["failing_since"], since);
    assert_eq!(failing["failures_last_hour"], 3);
    assert_eq!(failing["last_success"], before["last_success"]);
    let text = page(&mut connection);
    for part in [
        "failing for ",
        &format!("Since <time>{}</time>. ", since.as_str().unwrap()),
        "3 failures in the last hour. Last success ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }

    drop(broken);
    let _good = world.service("node", answer("up 1\n"));
    connection.get("/node").unwrap();
    let good = fetch_status(&mut connection)["services"][0].clone();
    assert_eq!(good["failing_since"], Value::Null);
    assert_eq!(good["failures_last_hour"], 3);
    assert_eq!(good["last_success"], good["last_scrape"]["at"]);
    let text = page(&mut connection);
    assert!(
        text.contains(": status, 3 times in the last hour"),
        "{text}"
    );
}

#[test]
fn each_scraped_service_has_a_picture_of_its_last_40_scrapes() {
    let world = World::new();
    let _services = ["node", "waiting"].map(|name| world.service(name, answer("up 1\n")));
    let _broken = world.service("broken", BROKEN);
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    for _ in 0..45 {
        assert_eq!(connection.get("/node").unwrap().status, 200);
    }
    assert_eq!(connection.get("/broken").unwrap().status, 502);
    let text = page(&mut connection);
    assert_eq!(text.matches("<svg ").count(), 2, "{text}");
    assert!(text.contains("<title>Last 40: 0 failed, others "), "{text}");
    assert!(text.contains("<title>Last 1: 1 failed</title>"), "{text}");
    assert_eq!(text.matches("<path class=\"bad\"").count(), 1, "{text}");
}

#[test]
fn a_forgotten_service_has_no_past() {
    let world = world();
    let broken = world.service("node", BROKEN);
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().status, 502);
    aegis.logged(&["scrape failed", "service=node"]);
    drop(broken);
    let socket = world.path("admin.sock");
    let forgotten = admin_socket::request(&socket, "POST", "/-/forget/node", "");
    assert_eq!(forgotten.status, 200);
    let _again = world.service("node", answer("up 1\n"));
    let node = fetch_status(&mut connection)["services"][0].clone();
    assert_eq!(node["state"], "not scraped yet");
    assert_eq!(node["failures_last_hour"], 0);
    assert_eq!(node["last_failure"], Value::Null);
    assert!(!page(&mut connection).contains("<svg"));
}

#[test]
fn the_page_refreshes_until_a_link_stops_it() {
    const REFRESH: &str = "<meta http-equiv=\"refresh\" content=\"15\">";
    let world = world();
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let of_operator =
        |target: &str| admin_socket::request(&world.path("admin.sock"), "GET", target, "").text();
    for text in [page(&mut connection), of_operator("/")] {
        assert!(text.contains(REFRESH), "{text}");
        assert!(
            text.contains("<a href=\"/?refresh=off\">Stop refreshing</a>"),
            "{text}"
        );
    }
    let stopped = connection.get("/?refresh=off").unwrap();
    assert_eq!(stopped.header("Cache-Control"), Some("no-store"));
    for text in [stopped.text(), of_operator("/?refresh=off")] {
        assert!(!text.contains("http-equiv"), "{text}");
        assert!(text.contains("<a href=\"/\">Refresh "), "{text}");
    }
    let json = connection.request("GET", "/?refresh=off", AS_JSON).unwrap();
    assert_eq!(parsed(&json)["services"], Value::Array(Vec::new()));
    for target in ["/?refresh=on", "/?refresh=off&a=b", "/-/sd?refresh=off"] {
        let mut connection = world.prometheus(&aegis).connect().unwrap();
        assert_eq!(connection.get(target).unwrap().status, 400, "{target}");
    }
}

#[test]
fn links_lead_to_metrics_only_if_they_are_granted() {
    let name = format!(r#""dns:{}""#, crate::harness::PROMETHEUS);
    for (services, is_granted) in [("node", false), ("metrics", true)] {
        let mut world = world();
        world.settings.allow = allow(r#""127.0.0.1""#, &name, &format!("{services:?}"));
        let aegis = world.start();
        let mut connection = world.prometheus(&aegis).connect().unwrap();
        let text = page(&mut connection);
        assert_eq!(text.contains("<a href=\"/metrics\">"), is_granted, "{text}");
        assert!(text.contains("<a href=\"/-/sd\">"), "{text}");
        let status = connection.get("/metrics").unwrap().status;
        assert_eq!(status == 200, is_granted);
        let (text, _) = as_operator(&world);
        assert!(text.contains("<a href=\"/metrics\">"), "{text}");
    }
}

#[test]
fn only_operators_see_refusals_connections_and_the_sandbox() {
    let mut world = world();
    world.settings.limits = "connections = 77\nconnections_per_address = 33".to_owned();
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    // The handshake ends here before it does in aegis.
    connection.get("/-/ready").unwrap();
    let nameless = world.scraper(&aegis, None);
    wait_until(|| nameless.try_get("/").is_err());
    aegis.logged(&["reason=no_certificate"]);
    let (text, status) = as_operator(&world);
    let refusal = status["refusals"].as_array().and_then(|refusals| {
        refusals
            .iter()
            .find(|one| one["reason"] == "no_certificate")
    });
    let refusal = refusal.unwrap_or_else(|| panic!("{status}"));
    assert_eq!(refusal["stage"], "handshake");
    assert!(refusal["count"].as_u64() >= Some(1), "{refusal}");
    let connections = &status["connections"];
    assert_eq!(
        [&connections["max"], &connections["max_per_address"]],
        [77, 33]
    );
    assert_eq!(connections["authenticated"], 1);
    let seccomp = status["sandbox"]
        .as_array()
        .and_then(|layers| layers.iter().find(|layer| layer["layer"] == "seccomp"));
    assert_eq!(seccomp.unwrap()["active"], true);
    for part in [
        "of 77 (",
        "1 authenticated",
        "of 33 (",
        "no_certificate",
        "seccomp",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let status = fetch_status(&mut connection);
    for key in ["refusals", "connections", "sandbox"] {
        assert_eq!(status[key], Value::Null);
    }
    let text = page(&mut connection);
    for part in ["of 77 (", "no_certificate", "seccomp"] {
        assert!(!text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn a_failed_reload_shows_since_when() {
    let world = world();
    let aegis = world.start();
    let (_, status) = as_operator(&world);
    let configuration = &status["configuration"];
    assert_eq!(configuration["failing_since"], Value::Null);
    assert_eq!(
        configuration["last_reload"],
        configuration["in_force_since"]
    );
    std::fs::write(world.path("aegis.toml"), "nonsense").unwrap();
    aegis.logged(&["not reloaded"]);
    let since = as_operator(&world).1["configuration"]["failing_since"].clone();
    let reload =
        || admin_socket::request(&world.path("admin.sock"), "POST", "/-/reload", "").status;
    assert_eq!(reload(), 500);
    let (text, status) = as_operator(&world);
    assert!(since.is_string());
    assert_eq!(status["configuration"]["failing_since"], since);
    let part = format!("Since <time>{}</time>", since.as_str().unwrap());
    assert!(text.contains(&part), "{text}");
    assert!(text.contains("reloads have failed for "), "{text}");
    world.write_config();
    assert_eq!(reload(), 200);
    let configuration = as_operator(&world).1["configuration"].clone();
    assert_eq!(configuration["failing_since"], Value::Null);
}

#[test]
fn a_detail_is_shown_only_with_the_problem_that_it_belongs_to() {
    let world = world();
    let broken = world.service("node", BROKEN);
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/node").status, 502);
    aegis.logged(&["scrape failed", "service=node"]);
    let detail = |status: &Value| status["services"][0]["problem"]["detail"].clone();
    let (page, status) = as_operator(&world);
    assert_eq!(detail(&status), "status 500");
    assert!(page.contains("<code>status 500</code>"), "{page}");
    drop(broken);
    let (page, status) = as_operator(&world);
    assert_eq!(status["services"][0]["problem"]["reason"], "missing");
    assert_eq!(detail(&status), Value::Null);
    assert_eq!(
        status["services"][0]["last_failure"]["detail"],
        "status 500"
    );
    assert!(!page.contains("status 500"), "{page}");
}

#[test]
fn the_remedy_of_a_missing_socket_names_what_forgets_it() {
    let mut world = world();
    world.settings.rest = "[services.planned]\n".to_owned();
    let node = world.service("node", answer("up 1\n"));
    let _aegis = world.start();
    drop(node);
    let services = as_operator(&world).1["services"].clone();
    let start = "Start the service; it creates its socket when it listens. If it is gone for good";
    for (index, rest) in [
        (0, "run aegis forget node"),
        (1, "remove it from the configuration, which names it"),
    ] {
        let remedy = &services[index]["problem"]["remedy"];
        assert_eq!(*remedy, format!("{start}, {rest}."));
    }
}

#[test]
fn the_page_says_how_long_a_vanished_service_stays_listed() {
    let mut world = World::new();
    world.settings.rest = "[services.planned]\n".to_owned();
    for (forget_after, part) in [
        ("\"2h\"", ". Without that it is forgotten in 1 h 59 min ("),
        ("\"never\"", ". It stays listed until then ("),
    ] {
        world.settings.top = format!("forget_after = {forget_after}");
        let service = world.service("node", answer("up 1\n"));
        let aegis = world.start();
        let mut connection = world.prometheus(&aegis).connect().unwrap();
        let listed = fetch_status(&mut connection)["services"][0].clone();
        assert_eq!(listed["forgotten_at"], Value::Null);
        drop(service);
        let text = page(&mut connection);
        let part = format!("run <code>aegis forget node</code>{part}");
        assert!(text.contains(&part), "{part}\n{text}");
        let configured = "If it is gone for good, remove it from the configuration";
        assert!(text.contains(configured), "{text}");
        let status = fetch_status(&mut connection);
        let forgotten = &status["services"][0]["forgotten_at"];
        assert_eq!(forgotten.is_string(), forget_after != "\"never\"");
        assert_eq!(status["services"][1]["forgotten_at"], Value::Null);
    }
}
