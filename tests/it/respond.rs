//! Stage 6: a scraper gets the service's metrics or a visibly incomplete answer.

use std::io::Write as _;

use aws_lc_rs::digest::{Context, SHA256};
use procfs::process::Process;

use crate::harness::{Connection, Service, World, answer, metric};

#[test]
fn every_format_is_relayed_byte_for_byte_with_its_type_and_encoding() {
    const CASES: &[(&str, &str, &[u8])] = &[
        ("text/plain; version=0.0.4; charset=utf-8", "", b"up 1\n"),
        (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "",
            b"up 1\n# EOF\n",
        ),
        (
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            "",
            b"\x0a\x02up\x00\xff\r\n\r\n0\r\n",
        ),
        (
            "text/plain; version=0.0.4",
            "gzip",
            b"\x1f\x8b\x08\x00not really",
        ),
    ];
    let world = World::new();
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    for (number, (content_type, encoding, body)) in CASES.iter().enumerate() {
        let mut sent = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n",
            body.len()
        );
        if !encoding.is_empty() {
            sent.push_str(&format!("Content-Encoding: {encoding}\r\n"));
        }
        let sent = [sent.as_bytes(), b"\r\n", body].concat();
        let name = format!("service{number}");
        let _service = world.service(&name, sent);
        let got = connection.get(&format!("/{name}")).unwrap();
        assert_eq!((got.status, got.body.as_slice()), (200, *body));
        assert_eq!(got.header("Content-Type"), Some(*content_type));
        assert_eq!(
            got.header("Content-Encoding").unwrap_or_default(),
            *encoding
        );
    }
}

#[test]
fn only_type_encoding_and_length_of_a_response_head_are_relayed() {
    let world = World::new();
    let sent = "HTTP/1.1 200 Fine\r\nServer: leaky/1.0\r\nDate: x\r\nSet-Cookie: a=b\r\nX-Y: z\r\nConnection: close\r\nLink: <a>\r\nLocation: /x\r\nRefresh: 0;/x\r\nContent-Disposition: inline\r\nContent-Location: /x\r\nX-Content-Type-Options: sniff\r\nContent-Security-Policy: script-src *\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nup 1\n";
    let _service = world.service("node", sent);
    let aegis = world.start();
    let got = world.prometheus(&aegis).get("/node");
    assert_eq!(
        got.head,
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{FOR_BROWSERS}Content-Length: 5\r\n\r\n"
        )
    );
}

const FOR_BROWSERS: &str =
    "X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox; default-src 'none'\r\n";

#[test]
fn csp_forbids_scripts_and_loads_outside_the_page() {
    let world = World::new();
    let _node = world.service("node", answer("up 1\n"));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n0\r\n\r\n";
    let _chunked = world.service("chunked", chunked);
    let _broken = world.service("broken", "no HTTP\r\n\r\n");
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    for (path, status) in [
        ("/node", 200),
        ("/chunked", 200),
        ("/broken", 502),
        ("/absent", 404),
        ("/a/b", 400),
        ("/node?a=b", 400),
        ("/metrics", 200),
        ("/-/sd", 200),
        ("/-/ready", 200),
        ("/-/healthy", 200),
    ] {
        for method in ["GET", "HEAD"] {
            let got = scraper
                .connect()
                .unwrap()
                .request(method, path, "")
                .unwrap();
            assert_eq!(got.status, status, "{method} {path}");
            assert!(
                got.head.contains(FOR_BROWSERS),
                "{method} {path} {}",
                got.head
            );
        }
    }
    let post = scraper
        .connect()
        .unwrap()
        .request("POST", "/node", "")
        .unwrap();
    assert_eq!(post.status, 405);
    assert!(post.head.contains(FOR_BROWSERS), "{}", post.head);
}

#[test]
fn a_chunked_answer_is_rechunked_without_trailers() {
    let world = World::new();
    let sent = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3;ext=1\r\nup \r\n2\r\n1\n\r\n0\r\nSet-Cookie: a=b\r\n\r\n";
    let _service = world.service("node", sent);
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    for _ in 0..2 {
        let got = connection.get("/node").unwrap();
        assert_eq!(
            got.head,
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{FOR_BROWSERS}Transfer-Encoding: chunked\r\n\r\n"
            )
        );
        assert_eq!(got.text(), "up 1\n");
    }
}

#[test]
fn informational_answers_are_skipped() {
    let world = World::new();
    let sent = format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{}",
        answer("up 1\n")
    );
    let _service = world.service("node", sent);
    let aegis = world.start();
    assert_eq!(world.prometheus(&aegis).get("/node").text(), "up 1\n");
}

#[test]
fn a_head_request_gets_the_head_only_and_is_forwarded_as_get() {
    let world = World::new();
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let head = connection.request("HEAD", "/node", "").unwrap();
    assert_eq!(
        (head.status, head.header("Content-Length")),
        (200, Some("5"))
    );
    assert!(service.requests()[0].starts_with("GET /metrics "));
    // No byte of the body is left on the connection.
    assert_eq!(
        connection.request("HEAD", "/absent", "").unwrap().status,
        404
    );
    assert_eq!(connection.get("/node").unwrap().text(), "up 1\n");
}

#[test]
fn connection_close_closes_the_connection() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let got = connection
        .request("GET", "/node", "Connection: close\r\n")
        .unwrap();
    assert_eq!(got.header("Connection"), Some("close"));
    assert!(connection.is_closed());
}

/// Sends a body of this size, in which every byte depends on its position.
fn large(world: &World, name: &str, size: usize, framing: &'static str) -> Service {
    Service::with(&world.socket(name), move |stream| {
        let head = match framing {
            "chunked" => "Transfer-Encoding: chunked".to_owned(),
            _ => format!("Content-Length: {size}"),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{head}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        for piece in pieces(size) {
            let sent = match framing {
                "chunked" => {
                    let length = format!("{:x}\r\n", piece.len());
                    stream.write_all(&[length.as_bytes(), &piece, b"\r\n"].concat())
                }
                _ => stream.write_all(&piece),
            };
            if sent.is_err() {
                return;
            }
        }
        if framing == "chunked" {
            drop(stream.write_all(b"0\r\n\r\n"));
        }
    })
}

fn pieces(size: usize) -> impl Iterator<Item = Vec<u8>> {
    const PIECE: usize = 50_000;
    const SHIFTS: usize = 251;
    // Copied, not computed for each piece: tests are built without optimization.
    let pattern: Vec<u8> = (0..PIECE + SHIFTS).map(|at| (at * 7 % 253) as u8).collect();
    (0..size.div_ceil(PIECE)).map(move |number| {
        let length = PIECE.min(size - number * PIECE);
        pattern[number % SHIFTS..][..length].to_vec()
    })
}

#[test]
fn a_body_of_100_mib_is_relayed_in_bounded_memory() {
    const SIZE: usize = 100 * 1024 * 1024;
    let mut world = World::new();
    world.settings.limits = r#"scrape_timeout = "5m""#.to_owned();
    let _chunked = large(&world, "chunked", SIZE, "chunked");
    let _length = large(&world, "length", SIZE, "length");
    let _small = world.service("small", answer("up 1\n"));
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    assert_eq!(connection.get("/small").unwrap().status, 200);
    let before = aegis.memory("VmRSS");
    let mut expected = Context::new(&SHA256);
    pieces(SIZE).for_each(|piece| expected.update(&piece));
    let expected = expected.finish();
    for service in ["/chunked", "/length"] {
        let (mut digest, mut size) = (Context::new(&SHA256), 0);
        connection
            .send(format!("GET {service} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .unwrap();
        let got = connection.answer_into(false, &mut |bytes| {
            digest.update(bytes);
            size += bytes.len();
        });
        assert_eq!((got.unwrap().status, size), (200, SIZE), "{service}");
        assert_eq!(digest.finish().as_ref(), expected.as_ref(), "{service}");
    }
    let grown = aegis.memory("VmHWM").saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB more at its peak");
    aegis.logged(&["scraped", "bytes=104857600"]);
}

#[test]
fn consecutive_large_answers_reuse_memory() {
    const SCRAPES: u64 = 50;
    let world = World::new();
    let _service = large(&world, "large", 1024 * 1024, "chunked");
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    let pid = i32::try_from(aegis.pid()).unwrap();
    let faults = || Process::new(pid).unwrap().stat().unwrap().minflt;
    let mut scrape = || assert_eq!(connection.get("/large").unwrap().status, 200);
    (0..SCRAPES).for_each(|_| scrape());
    let before = faults();
    (0..SCRAPES).for_each(|_| scrape());
    let more = faults() - before;
    // Memory that is freed and allocated again causes page faults of 4 KiB.
    assert!(more < SCRAPES, "{more} pages in {SCRAPES} scrapes");
}

#[test]
fn eight_concurrent_large_scrapes_use_little_memory() {
    const SIZE: usize = 20 * 1024 * 1024;
    let mut world = World::new();
    world.settings.limits = "scrapes_per_service = 8\nscrape_timeout = \"5m\"".to_owned();
    let _service = large(&world, "large", SIZE, "chunked");
    let _small = world.service("small", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    assert_eq!(scraper.get("/small").status, 200);
    let before = aegis.memory("VmRSS");
    let scrapes: Vec<_> = (0..8)
        .map(|_| {
            let scraper = scraper.clone();
            std::thread::spawn(move || scraper.get("/large").body.len())
        })
        .collect();
    for scrape in scrapes {
        assert_eq!(scrape.join().unwrap(), SIZE);
    }
    let grown = aegis.memory("VmHWM").saturating_sub(before);
    assert!(grown < 6 * 1024, "{grown} KiB more at its peak");
}

#[test]
fn scrapes_of_every_kind_leave_no_descriptor_open() {
    let world = World::new();
    let _good = world.service("good", answer("up 1\n"));
    let _bad = world.service("bad", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    let mut connection = scraper.connect().unwrap();
    let round = |connection: &mut Connection| {
        for target in ["/good", "/bad", "/absent", "/good?x"] {
            connection.get(target).unwrap();
        }
    };
    round(&mut connection);
    let before = connection.open_descriptors();
    (0..50).for_each(|_| round(&mut connection));
    assert_eq!(connection.open_descriptors(), before);
}

#[test]
fn an_unread_view_is_logged_and_counted() {
    let mut world = World::new();
    world.settings.limits = "stall_timeout = \"300ms\"".to_owned();
    for number in 0..900 {
        std::fs::write(world.socket(&format!("service-{number}")), "").unwrap();
    }
    let aegis = world.start();
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    connection
        .send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let line = aegis.logged_refusal("respond", "stalled");
    assert!(line.contains("path=\"/\" "), "{line}");
    assert!(line.contains("not shown: "), "{line}");
    assert_eq!(aegis.count_logged(&["path=\"/\"", " INFO shown"]), 0);
    let own = world.prometheus(&aegis).get("/metrics").text();
    let counted = r#"aegis_requests_refused_total{stage="respond",reason="stalled"}"#;
    assert_eq!(metric(&own, counted), Some(1.0), "{own}");
}
