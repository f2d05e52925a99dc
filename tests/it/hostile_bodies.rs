//! Stage 6 against services that make their answer itself a weapon.

use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use crate::harness::{Service, answer, wait_until};
use crate::hostile_services::{Stage, stage};

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";

impl Stage {
    /// The scrape must fail for one of these reasons, by a status or by breaking off, and
    /// another service must be scraped as ever.
    fn fails_for_one_of(&self, reasons: &[&str]) {
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
            self.aegis.times(&["scrape failed", &reason]) > 0
        };
        wait_until(|| reasons.iter().any(has));
        let _good = self.world.service("good", answer("up 1\n"));
        assert_eq!(self.scraper().get("/good").text(), "up 1\n");
    }
}

#[test]
fn a_service_that_never_accepts_times_out() {
    let stage = stage(r#"scrape_timeout = "400ms""#);
    // The kernel accepts for it: connect(2) ends well, and nobody ever answers.
    let _bad = UnixListener::bind(stage.world.socket("bad")).unwrap();
    let got = stage.scraper().get("/bad");
    assert_eq!(
        (got.status, got.header("Aegis-Reason")),
        (504, Some("timeout"))
    );
    stage.aegis.refused("respond", "timeout");
}

#[test]
fn a_service_that_resets_in_the_middle_is_a_visible_failure() {
    let stage = stage("");
    let listener = UnixListener::bind(stage.world.socket("bad")).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            drop(write!(stream, "{CHUNKED}5\r\nup 1\n\r\n"));
            // Closed with the request unread: that is a reset (unix(7)).
        }
    });
    for _ in 0..20 {
        stage.fails_for_one_of(&["hung_up"]);
    }
}

#[test]
fn endless_chunk_extensions_end() {
    let flood = |stream: &mut UnixStream| {
        drop(write!(stream, "{CHUNKED}5;"));
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    };
    let stage = stage(r#"scrape_timeout = "10s""#);
    let _bad = Service::with(&stage.world.socket("bad"), flood);
    stage.fails_for_one_of(&["malformed"]);
}

#[test]
fn extensions_of_every_chunk_are_no_way_around_the_bound() {
    let flood = |stream: &mut UnixStream| {
        drop(stream.write_all(CHUNKED.as_bytes()));
        let chunk = format!("1;{}\r\n#\r\n", "x".repeat(1000));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    };
    let stage = stage(r#"scrape_timeout = "10s""#);
    let _bad = Service::with(&stage.world.socket("bad"), flood);
    stage.fails_for_one_of(&["malformed"]);
}

#[test]
fn endless_digits_of_a_size_and_endless_white_space_end() {
    let stage = stage(r#"scrape_timeout = "1h""#);
    for (first, endless) in [("", b'0'), ("5", b' '), ("", b' '), ("5;", b'\t')] {
        let flood = move |stream: &mut UnixStream| {
            drop(write!(stream, "{CHUNKED}{first}"));
            while stream.write_all(&[endless; 4096]).is_ok() {}
        };
        let _bad = Service::with(&stage.world.socket("bad"), flood);
        stage.fails_for_one_of(&["malformed"]);
    }
}

#[test]
fn endless_trailers_end() {
    let flood = |stream: &mut UnixStream| {
        drop(write!(stream, "{CHUNKED}5\r\nup 1\n\r\n0\r\n"));
        while stream.write_all(b"X-Trailer: 1\r\n").is_ok() {}
    };
    let stage = stage(r#"scrape_timeout = "10s""#);
    let _bad = Service::with(&stage.world.socket("bad"), flood);
    stage.fails_for_one_of(&["malformed"]);
}

#[test]
fn a_gzip_bomb_passes_through_as_it_is() {
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

    let mut said = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        bomb.len()
    )
    .into_bytes();
    said.extend_from_slice(&bomb);
    let stage = stage("");
    let _bomb = stage.world.service("bomb", said);
    let scraper = stage.scraper();
    assert_eq!(scraper.get("/metrics").status, 200);
    let before = stage.aegis.memory("VmHWM:");
    let got = scraper.get("/bomb");
    assert_eq!(got.header("Content-Encoding"), Some("gzip"));
    assert!(got.body == bomb, "{} bytes", got.body.len());
    let more = stage.aegis.memory("VmHWM:") - before;
    assert!(more < 4096, "{more} KiB more");
}

#[test]
fn of_the_smallest_chunks_a_few_are_taken_before_others_have_their_turn() {
    const CHUNKS: usize = 5000;
    let stage = stage("");
    let sent = format!("{CHUNKED}{}0\r\n\r\n", "1\r\n\n\r\n".repeat(CHUNKS));
    let _service = stage.world.service("small", sent);
    let got = stage.scraper().get("/small");
    assert_eq!(got.body.len(), CHUNKS);
    // 128 at the most are written as one.
    assert!(got.chunks >= CHUNKS / 128, "{} chunks", got.chunks);
}
