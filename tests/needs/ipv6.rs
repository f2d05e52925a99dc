//! Needs IPv6: scrapers that connect over IPv4 and IPv6.

use std::net::Ipv6Addr;

use serde_json::{Value, json};

use crate::Tests;
use crate::harness::{World, allow, answer};

pub const TESTS: Tests = tests![
    ipv4_ipv6_and_dual_stack_listeners_admit_a_scraper,
    a_dual_stack_listener_does_not_admit_an_ipv4_scraper_as_ipv6,
    a_dual_stack_listener_reports_an_ipv4_scraper_as_ipv4,
];

pub fn missing() -> Option<String> {
    let bound = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0));
    bound
        .err()
        .map(|error| format!("this host has no IPv6: {error}"))
}

fn ipv4_ipv6_and_dual_stack_listeners_admit_a_scraper() {
    let mut world = World::new();
    world.settings.listen = r#"["127.0.0.1:0", "[::1]:0", "[::]:0"]"#.to_owned();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut scraper = world.prometheus(&aegis);
    let [v4, v6, both] = aegis.addresses() else {
        panic!("three addresses");
    };
    // The dual-stack listener sees the first of its two as ::ffff:127.0.0.1.
    let by_v4 = format!("127.0.0.1:{}", both.port()).parse().unwrap();
    let by_v6 = format!("[::1]:{}", both.port()).parse().unwrap();
    for address in [*v4, *v6, by_v4, by_v6] {
        scraper.address = address;
        assert_eq!(scraper.get("/node").text(), "up 1\n", "{address}");
    }
    let line = aegis.logged(&["scraped", "peer=::1 port="]);
    assert!(line.contains("service=node"), "{line}");
}

fn a_dual_stack_listener_does_not_admit_an_ipv4_scraper_as_ipv6() {
    let mut world = World::new();
    world.settings.listen = r#"["[::]:0"]"#.to_owned();
    world.settings.allow = allow(r#""::/0""#, r#""*""#, r#""*""#);
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut scraper = world.prometheus(&aegis);
    let port = aegis.address().port();
    scraper.address = format!("127.0.0.1:{port}").parse().unwrap();
    assert!(scraper.try_get("/node").is_err());
    assert!(
        aegis
            .logged_refusal("admit", "network")
            .contains("peer=127.0.0.1 port=")
    );
    scraper.address = format!("[::1]:{port}").parse().unwrap();
    assert_eq!(scraper.get("/node").status, 200);
}

fn a_dual_stack_listener_reports_an_ipv4_scraper_as_ipv4() {
    let mut world = World::new();
    world.settings.listen = r#"["[::]:0"]"#.to_owned();
    let _node = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let port = aegis.address().port();
    let mut scraper = world.prometheus(&aegis);
    scraper.address = ([127, 0, 0, 1], port).into();
    let groups: Vec<Value> = serde_json::from_slice(&scraper.get("/-/sd").body).unwrap();
    assert_eq!(groups[0]["targets"][0], json!(format!("127.0.0.1:{port}")));
}
