//! Stage 6: services that break, lie, hang or never end. Each scrape fails visibly, and no other
//! scrape is affected.

use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::harness::service::until_closed;
use crate::harness::{Aegis, Scraper, Service, World, answer};

pub struct Fixture {
    pub world: World,
    pub aegis: Aegis,
}

pub fn fixture(limits: &str) -> Fixture {
    let mut world = World::new();
    world.settings.limits = limits.to_owned();
    let aegis = world.start();
    Fixture { world, aegis }
}

impl Fixture {
    pub fn scraper(&self) -> Scraper {
        self.world.prometheus(&self.aegis)
    }

    /// Asserts that the scrape fails with this status and reason, and that the connection stays
    /// usable.
    pub fn assert_scrape_fails(
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
        assert!(
            self.aegis
                .logged_refusal("respond", reason)
                .contains(" WARN ")
        );
        let _good = self.world.service("good", crate::harness::answer("up 1\n"));
        assert_eq!(connection.get("/good").unwrap().text(), "up 1\n");
    }

    /// Asserts that the answer breaks off in the middle of its body, for this reason.
    pub fn assert_scrape_breaks_off(
        &self,
        service: impl Fn(&mut UnixStream) + Send + Sync + 'static,
        reason: &str,
    ) {
        let _bad = Service::with(&self.world.socket("bad"), service);
        let mut connection = self.scraper().connect().unwrap();
        let broken = connection.get("/bad").unwrap_err();
        assert_eq!(broken.kind(), std::io::ErrorKind::UnexpectedEof, "{broken}");
        self.aegis.logged_refusal("respond", reason);
        let own = self.scraper().get("/metrics").text();
        let counted = format!(
            r#"aegis_scrape_failures_total{{service="bad",stage="respond",reason="{reason}"}} 1"#
        );
        assert!(own.contains(&counted), "{own}");
    }
}

pub fn respond_with(bytes: &'static str) -> impl Fn(&mut UnixStream) + Send + Sync + 'static {
    move |stream| drop(stream.write_all(bytes.as_bytes()))
}

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_status_other_than_200_fails_the_scrape_and_its_body_is_not_relayed() {
    for status in [
        "500 Oops",
        "404 Not Found",
        "204 No Content",
        "206 Partial",
        "401 Who",
    ] {
        let response = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nsecret"
        );
        let fixture = fixture("");
        fixture.assert_scrape_fails(
            move |stream| drop(stream.write_all(response.as_bytes())),
            502,
            "status",
        );
    }
}

#[test]
fn a_status_other_than_200_without_a_length_is_reported() {
    let fixture = fixture("");
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n",
        "HTTP/1.0 500 Oops\r\n\r\nsecret",
    ] {
        fixture.assert_scrape_fails(respond_with(answer), 502, "status");
    }
}

#[test]
fn a_redirect_fails_the_scrape() {
    let fixture = fixture("");
    let redirect =
        "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n";
    fixture.assert_scrape_fails(respond_with(redirect), 502, "status");
    assert!(
        fixture
            .aegis
            .logged_refusal("respond", "status")
            .contains("status 302")
    );
}

#[test]
fn answers_that_are_not_http_or_have_no_clear_end_are_malformed() {
    for response in [
        "220 smtp ready\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nup 1\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nup 1\n",
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: gzip\r\n\r\nup 1\n",
    ] {
        fixture("").assert_scrape_fails(respond_with(response), 502, "malformed");
    }
}

#[test]
fn a_service_that_closes_before_its_answer_is_reported() {
    fixture("").assert_scrape_fails(|_| {}, 502, "hung_up");
    fixture("").assert_scrape_fails(
        respond_with("HTTP/1.1 200 OK\r\nContent-Le"),
        502,
        "hung_up",
    );
    // No byte of the body has arrived yet, so the status can still report the failure.
    let response = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\n";
    fixture("").assert_scrape_fails(respond_with(response), 502, "hung_up");
}

#[test]
fn a_truncated_body_never_looks_complete() {
    let short = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\nup 1\n";
    fixture("").assert_scrape_breaks_off(respond_with(short), "hung_up");
    fixture("").assert_scrape_breaks_off(
        |stream| drop(write!(stream, "{CHUNKED}5\r\nup 1\n\r\n")),
        "hung_up",
    );
    fixture("").assert_scrape_breaks_off(
        |stream| drop(write!(stream, "{CHUNKED}5\r\nup 1\n\r\n5\r\nup")),
        "hung_up",
    );
}

#[test]
fn a_malformed_chunk_aborts_the_body() {
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
        fixture("").assert_scrape_breaks_off(
            move |stream| drop(write!(stream, "{CHUNKED}5\r\nup 1\n\r\n{chunk}")),
            "malformed",
        );
    }
}

#[test]
fn a_body_longer_than_its_length_is_cut_at_that_length() {
    let fixture = fixture("");
    let response = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nup 1\nHTTP/1.1 200 OK\r\n";
    let _service = Service::with(&fixture.world.socket("node"), respond_with(response));
    let mut connection = fixture.scraper().connect().unwrap();
    assert_eq!(connection.get("/node").unwrap().text(), "up 1\n");
    assert_eq!(connection.get("/node").unwrap().text(), "up 1\n");
}

#[test]
fn a_silent_service_times_out_before_the_scraper_does() {
    let fixture = fixture("");
    let _bad = Service::with(&fixture.world.socket("bad"), until_closed);
    let mut connection = fixture.scraper().connect().unwrap();
    let headers = "X-Prometheus-Scrape-Timeout-Seconds: 0.6\r\n";
    let answer = connection.request("GET", "/bad", headers).unwrap();
    assert_eq!(
        (answer.status, answer.header("Aegis-Reason")),
        (504, Some("timeout"))
    );
    fixture.aegis.logged_refusal("respond", "timeout");
}

#[test]
fn a_service_that_stalls_mid_body_times_out() {
    let limits = r#"scrape_timeout = "400ms""#;
    fixture(limits).assert_scrape_breaks_off(
        |stream| {
            write!(stream, "{CHUNKED}5\r\nup 1\n\r\n").unwrap();
            until_closed(stream);
        },
        "timeout",
    );
}

#[test]
fn a_slow_service_is_cut_off_at_its_deadline() {
    // The next chunk is always available. The service ends when aegis closes the connection.
    let chunks = b"1\r\n#\r\n".repeat(10_000);
    let drip = move |stream: &mut UnixStream| {
        drop(stream.write_all(CHUNKED.as_bytes()));
        while stream.write_all(&chunks).is_ok() {}
    };
    fixture(r#"scrape_timeout = "400ms""#).assert_scrape_breaks_off(drip, "timeout");
    let head = |stream: &mut UnixStream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n"));
        while stream.write_all(b"XXXXXXXX").is_ok() {
            std::thread::yield_now();
        }
    };
    let limits = "response_head = \"4KiB\"\nscrape_timeout = \"1m\"";
    fixture(limits).assert_scrape_fails(head, 502, "too_large");
}

#[test]
fn an_endless_body_is_cut_at_its_limit() {
    let endless = |stream: &mut UnixStream| {
        drop(stream.write_all(CHUNKED.as_bytes()));
        let chunk = format!("2710\r\n{}\r\n", "#".repeat(10_000));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    };
    fixture(r#"response_body = "1MiB""#).assert_scrape_breaks_off(endless, "too_large");
}

#[test]
fn a_declared_length_above_the_limit_is_refused_before_the_body() {
    let response =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1048577\r\n\r\n#";
    fixture(r#"response_body = "1MiB""#).assert_scrape_fails(
        respond_with(response),
        502,
        "too_large",
    );
}

#[test]
fn a_scraper_that_stops_reading_is_disconnected() {
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
    aegis.logged_refusal("respond", "stalled");
}

#[test]
fn a_disconnected_scraper_frees_the_service() {
    let endless = |stream: &mut UnixStream| {
        drop(stream.write_all(CHUNKED.as_bytes()));
        let chunk = format!("2710\r\n{}\r\n", "#".repeat(10_000));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    };
    assert_disconnect_frees(endless);
    // aegis writes nothing to this scraper, so it must notice the close itself.
    assert_disconnect_frees(until_closed);
}

fn assert_disconnect_frees(serve: impl Fn(&mut UnixStream) + Send + Sync + 'static) {
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
        service.wait_for_requests(times);
        drop(connection);
        aegis.logged_times(times, &["reason=abandoned"]);
    }
}

#[test]
fn an_answer_sent_before_the_request_is_read_is_relayed() {
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
fn small_chunks_are_coalesced() {
    let world = World::new();
    let crumbs = format!("{CHUNKED}{}0\r\n\r\n", "1\r\n#\r\n".repeat(10_000));
    let _service = world.service("crumbs", crumbs);
    let aegis = world.start();
    let got = world.prometheus(&aegis).get("/crumbs");
    assert_eq!(got.text(), "#".repeat(10_000));
    assert!(got.chunks < 1000, "{} chunks", got.chunks);
}

#[test]
fn a_hung_service_does_not_delay_others() {
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
    // The last permit is reserved for another scraper; the fourth scrape waits.
    hung.wait_for_requests(3);
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
