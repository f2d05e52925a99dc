//! Stage 6: services that attack with the body of an answer.

use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use crate::harness::{Service, answer, wait_until};
use crate::hostile_services::{Fixture, fixture};

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";

impl Fixture {
    /// Asserts that the scrape fails for one of these reasons, with a status or an incomplete body,
    /// and that another service can still be scraped.
    fn assert_fails_for_one_of(&self, reasons: &[&str]) {
        let mut connection = self.scraper().connect().unwrap();
        let got = connection.get("/bad");
        let failed = match &got {
            Ok(answer) => reasons
                .iter()
                .any(|reason| answer.header("Aegis-Reason") == Some(reason)),
            Err(error) => error.kind() == std::io::ErrorKind::UnexpectedEof,
        };
        assert!(failed, "{got:?}");
        let has = |reason: &&str| {
            let reason = format!("reason={reason}");
            self.aegis.count_logged(&["scrape failed", &reason]) > 0
        };
        wait_until(|| reasons.iter().any(has));
        let _good = self.world.service("good", answer("up 1\n"));
        assert_eq!(self.scraper().get("/good").text(), "up 1\n");
    }
}

#[test]
fn a_service_that_never_accepts_times_out() {
    let fixture = fixture(r#"scrape_timeout = "400ms""#);
    // The kernel queues the connection: connect(2) succeeds, and no answer arrives.
    let _bad = UnixListener::bind(fixture.world.socket("bad")).unwrap();
    let got = fixture.scraper().get("/bad");
    assert_eq!(
        (got.status, got.header("Aegis-Reason")),
        (504, Some("timeout"))
    );
    fixture.aegis.logged_refusal("respond", "timeout");
}

#[test]
fn a_reset_mid_body_is_a_visible_failure() {
    let fixture = fixture("");
    let listener = UnixListener::bind(fixture.world.socket("bad")).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            drop(write!(stream, "{CHUNKED}5\r\nup 1\n\r\n"));
            // Closing a socket with unread data resets the connection (unix(7)).
        }
    });
    for _ in 0..20 {
        fixture.assert_fails_for_one_of(&["hung_up"]);
    }
}

#[test]
fn endless_chunk_extensions_are_cut_off() {
    let flood = |stream: &mut UnixStream| {
        drop(write!(stream, "{CHUNKED}5;"));
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    };
    let fixture = fixture(r#"scrape_timeout = "10s""#);
    let _bad = Service::with(&fixture.world.socket("bad"), flood);
    fixture.assert_fails_for_one_of(&["malformed"]);
}

#[test]
fn chunk_extensions_are_bounded_in_total() {
    let flood = |stream: &mut UnixStream| {
        drop(stream.write_all(CHUNKED.as_bytes()));
        let chunk = format!("1;{}\r\n#\r\n", "x".repeat(1000));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    };
    let fixture = fixture(r#"scrape_timeout = "10s""#);
    let _bad = Service::with(&fixture.world.socket("bad"), flood);
    fixture.assert_fails_for_one_of(&["malformed"]);
}

#[test]
fn endless_chunk_size_digits_and_white_space_are_cut_off() {
    let fixture = fixture(r#"scrape_timeout = "1h""#);
    for (first, endless) in [("", b'0'), ("5", b' '), ("", b' '), ("5;", b'\t')] {
        let flood = move |stream: &mut UnixStream| {
            drop(write!(stream, "{CHUNKED}{first}"));
            while stream.write_all(&[endless; 4096]).is_ok() {}
        };
        let _bad = Service::with(&fixture.world.socket("bad"), flood);
        fixture.assert_fails_for_one_of(&["malformed"]);
    }
}

#[test]
fn endless_trailers_are_cut_off() {
    let flood = |stream: &mut UnixStream| {
        drop(write!(stream, "{CHUNKED}5\r\nup 1\n\r\n0\r\n"));
        while stream.write_all(b"X-Trailer: 1\r\n").is_ok() {}
    };
    let fixture = fixture(r#"scrape_timeout = "10s""#);
    let _bad = Service::with(&fixture.world.socket("bad"), flood);
    fixture.assert_fails_for_one_of(&["malformed"]);
}

#[test]
fn a_gzip_bomb_is_relayed_unchanged() {
    let mut gzip = Command::new("gzip")
        .arg("-9")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || {
        let zeros = vec![0; 1 << 20];
        (0..200).for_each(|_| input.write_all(&zeros).unwrap());
    });
    let bomb = gzip.wait_with_output().unwrap().stdout;
    feeding.join().unwrap();
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());

    let mut response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        bomb.len()
    )
    .into_bytes();
    response.extend_from_slice(&bomb);
    let fixture = fixture("");
    let _bomb = fixture.world.service("bomb", response);
    let scraper = fixture.scraper();
    assert_eq!(scraper.get("/metrics").status, 200);
    let before = fixture.aegis.memory("VmHWM:");
    let got = scraper.get("/bomb");
    assert_eq!(got.header("Content-Encoding"), Some("gzip"));
    assert!(got.body == bomb, "{} bytes", got.body.len());
    let more = fixture.aegis.memory("VmHWM:") - before;
    assert!(more < 4096, "{more} KiB more");
}

#[test]
fn at_most_128_small_chunks_are_combined() {
    const CHUNKS: usize = 5000;
    let fixture = fixture("");
    let sent = format!("{CHUNKED}{}0\r\n\r\n", "1\r\n\n\r\n".repeat(CHUNKS));
    let _service = fixture.world.service("small", sent);
    let got = fixture.scraper().get("/small");
    assert_eq!(got.body.len(), CHUNKS);
    // aegis combines at most 128 chunks into one.
    assert!(got.chunks >= CHUNKS / 128, "{} chunks", got.chunks);
}
