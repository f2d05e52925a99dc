//! Stage 6 against services that break, lie, hang or never end: each fails visibly, and alone.

use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::harness::service::until_closed;
use crate::harness::{Aegis, Scraper, Service, World, answer};

pub struct Stage {
    pub world: World,
    pub aegis: Aegis,
}

pub fn stage(limits: &str) -> Stage {
    let mut world = World::new();
    world.settings.limits = limits.to_owned();
    let aegis = world.start();
    Stage { world, aegis }
}

impl Stage {
    pub fn scraper(&self) -> Scraper {
        self.world.prometheus(&self.aegis)
    }

    /// The scrape must fail with this status and reason, and leave the connection good.
    pub fn fails(
        &self,
        service: impl Fn(&mut UnixStream) + Send + Sync + 'static,
        status: u16,
        reason: &str,
    ) {
        let _bad = Service::with(&self.world.socket("bad"), service);
        let mut connection = self.scraper().connect().unwrap();
        let answer = connection.get("/bad").unwrap();
        assert_eq!(
            (answer.status, answer.header("Aegis-Reason")),
            (status, Some(reason))
        );
        assert!(self.aegis.refused("respond", reason).contains(" WARN "));
        let _good = self.world.service("good", crate::harness::answer("up 1\n"));
        assert_eq!(connection.get("/good").unwrap().text(), "up 1\n");
    }

    /// The scrape must break off in the middle of its body, for this reason.
    fn breaks_off(&self, service: impl Fn(&mut UnixStream) + Send + Sync + 'static, reason: &str) {
        let _bad = Service::with(&self.world.socket("bad"), service);
        let mut connection = self.scraper().connect().unwrap();
        let broken = connection.get("/bad").unwrap_err();
        assert_eq!(broken.kind(), std::io::ErrorKind::UnexpectedEof, "{broken}");
        self.aegis.refused("respond", reason);
        let own = self.scraper().get("/metrics").text();
        let counted = format!(
            r#"aegis_scrape_failures_total{{service="bad",stage="respond",reason="{reason}"}} 1"#
        );
        assert!(own.contains(&counted), "{own}");
    }
}

pub fn says(bytes: &'static str) -> impl Fn(&mut UnixStream) + Send + Sync + 'static {
    move |stream| drop(stream.write_all(bytes.as_bytes()))
}

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn another_status_than_200_is_a_failed_scrape_and_its_body_stays_inside() {
    for status in [
        "500 Oops",
        "404 Not Found",
        "204 No Content",
        "206 Partial",
        "401 Who",
    ] {
        let said = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nsecret"
        );
        let stage = stage("");
        stage.fails(
            move |stream| drop(stream.write_all(said.as_bytes())),
            502,
            "status",
        );
    }
}

#[test]
fn of_another_status_without_a_length_the_status_is_named() {
    let stage = stage("");
    for answer in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n",
        "HTTP/1.0 500 Oops\r\n\r\nsecret",
    ] {
        stage.fails(says(answer), 502, "status");
    }
}

#[test]
fn a_redirect_is_a_failed_scrape() {
    let stage = stage("");
    let redirect =
        "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n";
    stage.fails(says(redirect), 502, "status");
    assert!(
        stage
            .aegis
            .refused("respond", "status")
            .contains("status 302")
    );
}

#[test]
fn answers_that_are_not_http_or_have_no_clear_end_are_malformed() {
    for said in [
        "220 smtp ready\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nup 1\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nup 1\n",
        // It ends with the connection: nothing tells it from one whose service crashed.
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nup 1\n",
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nup 1\n",
    ] {
        stage("").fails(says(said), 502, "malformed");
    }
}

#[test]
fn a_service_that_hangs_up_before_its_answer_is_named() {
    stage("").fails(|_| {}, 502, "hung_up");
    stage("").fails(says("HTTP/1.1 200 OK\r\nContent-Le"), 502, "hung_up");
    // Nothing of the body has come yet, so that there still is a status to say it by.
    let said = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\n";
    stage("").fails(says(said), 502, "hung_up");
}

#[test]
fn a_body_that_breaks_off_never_looks_whole() {
    let short = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\nup 1\n";
    stage("").breaks_off(says(short), "hung_up");
    stage("").breaks_off(
        |stream| drop(write!(stream, "{CHUNKED}5\r\nup 1\n\r\n")),
        "hung_up",
    );
    stage("").breaks_off(
        |stream| drop(write!(stream, "{CHUNKED}5\r\nup 1\n\r\n5\r\nup")),
        "hung_up",
    );
}

#[test]
fn a_malformed_chunk_breaks_the_body_off() {
    for chunk in [
        "zz\r\n",
        "5 \r\nup 1\n\r\n0\r\n\r\n",
        " 5\r\nup 1\n\r\n0\r\n\r\n",
        "5;a =b\r\nup 1\n\r\n0\r\n\r\n",
        "5\nup 1\n\r\n0\r\n\r\n",
        "00000000000000005\r\nup 1\n\r\n0\r\n\r\n",
        "0\nX: y\r\n\r\n",
        "0\r\nX: y\n\r\n",
    ] {
        stage("").breaks_off(
            move |stream| drop(write!(stream, "{CHUNKED}5\r\nup 1\n\r\n{chunk}")),
            "malformed",
        );
    }
}

#[test]
fn a_length_that_is_too_short_ends_the_body_where_it_says() {
    let stage = stage("");
    let said = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nup 1\nHTTP/1.1 200 OK\r\n";
    let _service = Service::with(&stage.world.socket("node"), says(said));
    let mut connection = stage.scraper().connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().text(), "up 1\n");
    assert_eq!(connection.get("/node").unwrap().text(), "up 1\n");
}

#[test]
fn a_silent_service_times_out_in_time_for_the_scraper_to_hear_of_it() {
    let stage = stage("");
    let _bad = Service::with(&stage.world.socket("bad"), until_closed);
    let mut connection = stage.scraper().connect().unwrap();
    let headers = "X-Prometheus-Scrape-Timeout-Seconds: 0.6\r\n";
    let answer = connection.ask("GET", "/bad", headers).unwrap();
    assert_eq!(
        (answer.status, answer.header("Aegis-Reason")),
        (504, Some("timeout"))
    );
    stage.aegis.refused("respond", "timeout");
}

#[test]
fn a_service_that_stops_in_the_middle_times_out() {
    let limits = r#"scrape_timeout = "400ms""#;
    stage(limits).breaks_off(
        |stream| {
            write!(stream, "{CHUNKED}5\r\nup 1\n\r\n").unwrap();
            until_closed(stream);
        },
        "timeout",
    );
}

#[test]
fn a_service_that_drips_does_not_outlive_its_deadline() {
    // So many chunks at once that aegis never has to wait for the next. It ends when aegis hangs up.
    let chunks = b"1\r\n#\r\n".repeat(10_000);
    let drip = move |stream: &mut UnixStream| {
        drop(stream.write_all(CHUNKED.as_bytes()));
        while stream.write_all(&chunks).is_ok() {}
    };
    stage(r#"scrape_timeout = "400ms""#).breaks_off(drip, "timeout");
    let head = |stream: &mut UnixStream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n"));
        while stream.write_all(b"XXXXXXXX").is_ok() {
            std::thread::yield_now();
        }
    };
    stage(r#"response_head = "4KiB""#).fails(head, 502, "too_large");
}

#[test]
fn an_endless_body_is_cut_at_its_cap() {
    let endless = |stream: &mut UnixStream| {
        drop(stream.write_all(CHUNKED.as_bytes()));
        let chunk = format!("2710\r\n{}\r\n", "#".repeat(10_000));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    };
    stage(r#"response_body = "1MiB""#).breaks_off(endless, "too_large");
}

#[test]
fn a_body_that_says_it_is_too_large_is_refused_before_it_begins() {
    let said = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1048577\r\n\r\n#";
    stage(r#"response_body = "1MiB""#).fails(says(said), 502, "too_large");
}

#[test]
fn a_scraper_that_stops_reading_is_cut_off() {
    let mut world = World::new();
    world.settings.limits = "stall_timeout = \"400ms\"\nscrape_timeout = \"1h\"".to_owned();
    let _service = Service::with(&world.socket("endless"), |stream| {
        drop(stream.write_all(CHUNKED.as_bytes()));
        let chunk = format!("2710\r\n{}\r\n", "#".repeat(10_000));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    });
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    connection
        .send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    aegis.refused("respond", "stalled");
}

#[test]
fn a_scraper_that_leaves_frees_the_service() {
    let endless = |stream: &mut UnixStream| {
        drop(stream.write_all(CHUNKED.as_bytes()));
        let chunk = format!("2710\r\n{}\r\n", "#".repeat(10_000));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    };
    leaves(endless);
    // Nothing is written to that scraper, so that only its leaving can tell.
    leaves(until_closed);
}

fn leaves(serve: impl Fn(&mut UnixStream) + Send + Sync + 'static) {
    let mut world = World::new();
    world.settings.rest = "[services.bad]\nmax_concurrent = 1\ntimeout = \"1h\"\n".to_owned();
    let service = Service::with(&world.socket("bad"), serve);
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    for times in 1..=3 {
        let mut connection = scraper.connect().unwrap();
        connection
            .send(b"GET /bad HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        service.asked(times);
        drop(connection);
        aegis.logged_times(times, &["reason=abandoned"]);
    }
}

#[test]
fn a_service_that_answers_without_reading_is_heard() {
    let world = World::new();
    let listener = UnixListener::bind(world.socket("hasty")).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            drop(stream.write_all(answer("up 1\n").as_bytes()));
        }
    });
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    for _ in 0..50 {
        assert_eq!(connection.get("/hasty").unwrap().text(), "up 1\n");
    }
}

#[test]
fn crumbs_are_gathered() {
    let world = World::new();
    let crumbs = format!("{CHUNKED}{}0\r\n\r\n", "1\r\n#\r\n".repeat(10_000));
    let _service = world.service("crumbs", crumbs);
    let aegis = world.start();
    let got = world.prometheus(&aegis).get("/crumbs");
    assert_eq!(got.text(), "#".repeat(10_000));
    assert!(got.chunks < 1000, "{} chunks", got.chunks);
}

#[test]
fn one_hung_service_costs_the_others_nothing() {
    let mut world = World::new();
    world.settings.limits = r#"scrape_timeout = "1h""#.to_owned();
    let hung = Service::with(&world.socket("hung"), until_closed);
    let services: Vec<_> = (0..10)
        .map(|number| world.service(&format!("good{number}"), answer("up 1\n")))
        .collect();
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let mut waiting: Vec<_> = (0..4).map(|_| scraper.connect().unwrap()).collect();
    for connection in &mut waiting {
        connection
            .send(b"GET /hung HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
    }
    hung.asked(4);
    let scrapes: Vec<_> = (0..services.len())
        .map(|number| {
            let scraper = scraper.clone();
            std::thread::spawn(move || {
                let mut connection = scraper.connect().unwrap();
                (0..20).all(|_| connection.get(&format!("/good{number}")).unwrap().status == 200)
            })
        })
        .collect();
    assert!(scrapes.into_iter().all(|scrape| scrape.join().unwrap()));
}
