//! `/-/sd` lists the services that a scraper may scrape, and nothing else.

use serde_json::{Value, json};

use crate::harness::aegis::{command, run};
use crate::harness::{Aegis, Connection, World, admin_socket, allow, answer, metric};

/// The target groups that `/-/sd` returns to the scraper of the policy.
fn discovered(world: &World, aegis: &Aegis) -> Vec<Value> {
    let response = world.prometheus(aegis).get("/-/sd");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("Content-Type"), Some("application/json"));
    serde_json::from_slice(&response.body).unwrap()
}

fn names(groups: &[Value]) -> Vec<&str> {
    let names = groups
        .iter()
        .map(|group| group["labels"]["__meta_aegis_service"].as_str());
    names.map(Option::unwrap).collect()
}

#[test]
fn a_discovered_service_stays_listed_after_its_socket_vanishes() {
    let world = World::new();
    let aegis = world.start();
    assert_eq!(world.prometheus(&aegis).get("/-/sd").text(), "[]\n");

    let node = world.service("node", answer("up 1\n"));
    let address = aegis.address();
    let expected = json!([{
        "targets": [address.to_string()],
        "labels": {
            "__scheme__": "https",
            "__metrics_path__": "/node",
            "__meta_aegis_service": "node",
            "instance": format!("{address}/node"),
        },
    }]);
    assert_eq!(json!(discovered(&world, &aegis)), expected);
    assert_eq!(world.prometheus(&aegis).get("/node").status, 200);

    drop(node);
    assert_eq!(json!(discovered(&world, &aegis)), expected);
    let gone = world.prometheus(&aegis).get("/node");
    assert_eq!(gone.status, 502);
    assert_eq!(gone.header("Aegis-Reason"), Some("missing"));
    aegis.logged(&["shown", "path=\"/-/sd\""]);
}

#[test]
fn discovery_lists_only_granted_services() {
    let mut world = World::new();
    let name = format!(r#""dns:{}""#, crate::harness::PROMETHEUS);
    world.settings.allow = allow(r#""127.0.0.1""#, &name, r#""team-a-*", "shared""#)
        + &allow(r#""192.0.2.0/24""#, &name, r#""elsewhere""#)
        + &allow(r#""127.0.0.1""#, r#""dns:other.example.org""#, r#""*""#);
    let services = ["team-a-web", "team-b-web", "shared", "elsewhere", "secret"];
    let _services = services.map(|service| world.service(service, answer("up 1\n")));
    let aegis = world.start();
    let groups = discovered(&world, &aegis);
    assert_eq!(names(&groups), ["shared", "team-a-web"]);
}

#[test]
fn a_configured_service_is_always_listed_with_labels_and_advertised_name() {
    let mut world = World::new();
    world.settings.top = "advertise = \"host.example.org:443\"".to_owned();
    world.settings.rest =
        "[services.planned]\npath = \"/probe\"\nlabels = { team = \"web\", instance = \"mine\" }\n"
            .to_owned();
    let aegis = world.start();
    let expected = json!([{
        "targets": ["host.example.org:443"],
        "labels": {
            "__scheme__": "https",
            "__metrics_path__": "/planned",
            "__meta_aegis_service": "planned",
            "instance": "mine",
            "team": "web",
        },
    }]);
    assert_eq!(json!(discovered(&world, &aegis)), expected);
}

#[test]
fn vanished_services_are_evicted_for_present_ones() {
    let world = World::new();
    let aegis = world.start();
    let junk: Vec<_> = (0..1000)
        .map(|n| world.socket(&format!("junk{n}")))
        .collect();
    for file in &junk {
        std::fs::write(file, "").unwrap();
    }
    let discovery = || world.prometheus(&aegis).get("/-/sd").text();
    assert_eq!(discovery().matches("/junk").count(), 2 * 1000);
    junk.iter()
        .for_each(|file| std::fs::remove_file(file).unwrap());
    assert_eq!(discovery().matches("/junk").count(), 2 * 1000);
    let _late = world.service("late", answer("up 1\n"));
    assert!(discovery().contains("/late"));
    assert!(!discovery().contains("/junk"));
}

#[test]
fn paths_similar_to_discovery_are_refused() {
    let world = World::new();
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    for target in ["/-/sd/", "/-/sd?x=1", "/-/SD", "/-/", "/-/reload"] {
        assert_eq!(scraper.get(target).status, 400, "{target}");
    }
    let posted = scraper.connect().unwrap().request("POST", "/-/reload", "");
    assert_eq!(posted.unwrap().status, 405);
}

#[test]
fn services_writes_the_same_targets_as_discovery() {
    let mut world = World::new();
    world.settings.top = "advertise = \"[fd00::1]:31337\"".to_owned();
    world.settings.rest = "[services.other]\npath = \"/probe\"\n".to_owned();
    let _node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let services_output = |format| {
        let mut services = command();
        services.args(["services", "--format", format, "--config"]);
        let output = services.arg(world.path("aegis.toml")).output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap()
    };
    assert_eq!(services_output("sd"), discovered(&world, &aegis));
    let local = services_output("sd-unix");
    let expected = json!({
        "targets": ["localhost"],
        "labels": {
            "__scheme__": "http",
            "__metrics_path__": "/probe",
            "__unix_socket__": world.socket("other"),
            "__meta_aegis_service": "other",
            "instance": "other",
        },
    });
    assert_eq!(local[1], expected);
    // Relative paths, which are resolved in the folder of the configuration.
    let config = "[services.other]\nsocket = \"of/other.sock\"\n".to_owned();
    std::fs::write(
        world.path("relative.toml"),
        std::fs::read_to_string(world.path("aegis.toml"))
            .unwrap()
            .replace("[services.other]\n", &config),
    )
    .unwrap();
    let mut services = command();
    services.current_dir(world.folder.path());
    services.args(["services", "--format", "sd-unix"]);
    services.args(["--config", "relative.toml", "--socket-dir", "services"]);
    let output = services.output().unwrap().stdout;
    let local: Vec<Value> = serde_json::from_slice(&output).unwrap();
    let sockets: Vec<&Value> = local
        .iter()
        .map(|target| &target["labels"]["__unix_socket__"])
        .collect();
    assert_eq!(
        sockets,
        [
            &json!(world.socket("node")),
            &json!(world.path("of/other.sock"))
        ]
    );
}

#[test]
fn targets_need_an_advertised_address() {
    let mut world = World::new();
    world.settings.listen = r#"["0.0.0.0:31337"]"#.to_owned();
    let mut services = command();
    services.args(["services", "--format", "sd", "--config"]);
    let output = services.arg(world.write_config()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("set advertise in the configuration"),
        "{stderr}"
    );
}

#[test]
fn forget_removes_a_vanished_service() {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    world.settings.rest = "[services.planned]\n".to_owned();
    let gone = world.service("gone", answer("up 1\n"));
    let _there = world.service("there", answer("up 1\n"));
    let aegis = world.start();
    assert_eq!(world.prometheus(&aegis).get("/gone").status, 200);
    drop(gone);
    let forget = |name: &str| {
        let target = format!("/-/forget/{name}");
        admin_socket::request(&world.path("admin.sock"), "POST", &target, "").status
    };
    assert_eq!(forget("planned"), 409);
    assert_eq!(forget("there"), 409);
    assert_eq!(forget("never"), 404);
    assert_eq!(
        names(&discovered(&world, &aegis)),
        ["gone", "planned", "there"]
    );
    assert!(
        world
            .prometheus(&aegis)
            .get("/metrics")
            .text()
            .contains("gone")
    );
    assert_eq!(forget("gone"), 200);
    assert_eq!(names(&discovered(&world, &aegis)), ["planned", "there"]);
    assert!(
        !world
            .prometheus(&aegis)
            .get("/metrics")
            .text()
            .contains("gone")
    );
    assert_eq!(world.prometheus(&aegis).get("/gone").status, 404);
    aegis.logged(&["forgotten", "service=gone"]);
}

#[test]
fn files_without_the_socket_suffix_hide_no_service() {
    let world = World::new();
    let sockets = (0..50).map(|number| world.socket(&format!("service-{number:02}")));
    for socket in sockets {
        drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    }
    for number in 0..12_000 {
        std::fs::write(world.path("services").join(format!("{number}.tmp")), "").unwrap();
    }
    let aegis = world.start();
    assert_eq!(discovered(&world, &aegis).len(), 50);
    let own = world.prometheus(&aegis).get("/metrics").text();
    assert_eq!(metric(&own, "aegis_service_list_truncated"), Some(0.0));
}

#[test]
fn more_services_than_the_list_limit_are_a_warning() {
    const WARNING: &str = "services holds more than aegis lists: 1000 services, 4000 files named *.sock, 20000 files in all";
    let world = World::new();
    let aegis = world.start();
    let truncated = || {
        let own = world.prometheus(&aegis).get("/metrics").text();
        metric(&own, "aegis_service_list_truncated")
    };
    assert_eq!(truncated(), Some(0.0));
    for number in 0..=1000 {
        std::fs::write(world.socket(&format!("service-{number:04}")), "").unwrap();
    }
    assert_eq!((truncated(), truncated()), (Some(1.0), Some(1.0)));
    aegis.logged(&["WARN", WARNING]);
    assert_eq!(aegis.count_logged(&["WARN", WARNING]), 1);
    let config = world.write_config();
    let checked = run(&["check", "--config", config.to_str().unwrap()]);
    let stdout = String::from_utf8(checked.stdout).unwrap();
    assert!(stdout.contains(WARNING), "{stdout}");
    std::fs::remove_file(world.socket("service-0000")).unwrap();
    assert_eq!(truncated(), Some(0.0));
}

#[test]
fn a_thousand_services_are_discovered_without_open_descriptors() {
    let world = World::new();
    let sockets = (0..1000).map(|number| world.socket(&format!("service-{number:04}")));
    // The socket file stays after its listener is closed. A thousand open listeners would exceed
    // the usual limit on descriptors.
    for socket in sockets {
        drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    }
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let ask = |connection: &mut Connection| {
        let response = connection.get("/-/sd").unwrap();
        let groups: Vec<Value> = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(groups.len(), 1000);
        assert_eq!(connection.get("/metrics").unwrap().status, 200);
        assert_eq!(connection.get("/").unwrap().status, 200);
    };
    (0..3).for_each(|_| ask(&mut connection));
    let (descriptors, memory) = (connection.open_descriptors(), aegis.memory("VmRSS"));
    (0..50).for_each(|_| ask(&mut connection));
    assert_eq!(connection.open_descriptors(), descriptors);
    let grown = aegis.memory("VmRSS").saturating_sub(memory);
    assert!(grown < 4096, "{grown} KiB");
}
