//! Answers without a length, cut at any byte: what passes for whole ends as its format must.
//!
//! `AEGIS_CUT_ANSWERS=100000 cargo test cut_answers` cuts that many.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsRawFd as _;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};

use super::*;

/// An answer, and how much of it the service sends before it closes the connection.
#[derive(Clone, Debug)]
struct CutAnswer {
    is_openmetrics: bool,
    body: String,
    cut: usize,
    /// The service writes this many bytes at a time.
    piece: usize,
}

impl CutAnswer {
    fn sent_body(&self) -> &[u8] {
        &self.body.as_bytes()[..self.cut]
    }

    /// Whether what is sent ends as the format must.
    fn ends_well(&self) -> bool {
        let lines = std::str::from_utf8(self.sent_body()).unwrap();
        if self.is_openmetrics {
            lines.lines().next_back() == Some("# EOF")
        } else {
            lines.ends_with('\n')
        }
    }
}

fn answers() -> impl Strategy<Value = CutAnswer> {
    let lines = vec("[a-z]{1,9} [0-9]{1,4}\n", 0..30);
    // The longest ones are sent before their end is known.
    let repeat = select(vec![1, 1, 1, 1, 1, 1, 1, 500]);
    (any::<bool>(), lines, repeat, any::<usize>(), 1usize..5000).prop_map(
        |(is_openmetrics, lines, repeat, cut, piece)| {
            let mut body = lines.concat().repeat(repeat);
            if is_openmetrics {
                body.push_str("# EOF\n");
            }
            let cut = cut % (body.len() + 1);
            CutAnswer {
                is_openmetrics,
                body,
                cut,
                piece: piece.max(body_pieces(cut)),
            }
        },
    )
}

/// At least this many bytes at a time, so that a long answer takes few writes.
fn body_pieces(length: usize) -> usize {
    length / 64
}

struct World {
    runtime: Runtime,
    connection: InMemoryConnection<DuplexStream>,
    listener: UnixListener,
    _folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let chain = write_files(folder.path());
        let config = granting("node", folder.path());
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let inside = runtime.enter();
        let source = "192.0.2.7:40000".parse().unwrap();
        let connection = InMemoryConnection::new(config, source, chain, duplex(1).0).unwrap();
        // Through a descriptor, because the path can be longer than a socket's may be.
        let services = File::open(folder.path().join("services")).unwrap();
        let socket = format!("/proc/self/fd/{}/node.sock", services.as_raw_fd());
        let listener = UnixListener::bind(socket).unwrap();
        drop(inside);
        Self {
            runtime,
            connection,
            listener,
            _folder: folder,
        }
    }

    /// What a scraper receives while a service sends this answer.
    fn scrape(&mut self, answer: &CutAnswer) -> Vec<u8> {
        const REQUEST: &[u8] = b"GET /node HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let Self {
            runtime,
            connection,
            listener,
            ..
        } = self;
        runtime.block_on(async {
            let (mut scraper, stream) = duplex(BUFFER_BYTES);
            scraper.write_all(REQUEST).await.unwrap();
            let service = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                let format = if answer.is_openmetrics {
                    "application/openmetrics-text"
                } else {
                    "text/plain"
                };
                let head = format!("HTTP/1.0 200 OK\r\nContent-Type: {format}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                for piece in answer.sent_body().chunks(answer.piece) {
                    stream.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let serving = async {
                connection.serve(stream).await;
                // Its end of the stream is replaced, and so dropped.
                connection.session.stream = duplex(1).0;
            };
            let ((), ()) = tokio::join!(serving, service);
            let mut received = Vec::new();
            scraper.read_to_end(&mut received).await.unwrap();
            received
        })
    }
}

/// The body of a complete answer with status 200.
fn complete_body(received: &[u8]) -> Option<Vec<u8>> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, mut chunks) = received.split_at(end + 4);
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return None;
    }
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&chunks[..end]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return chunks.ends_with(b"0\r\n\r\n").then_some(body);
        }
        chunks = chunks.get(end + 2..)?;
        body.extend_from_slice(chunks.get(..size)?);
        chunks = chunks.get(size + 2..)?;
    }
}

#[test]
fn a_cut_answer_is_complete_only_where_its_format_ends() {
    let cases = std::env::var("AEGIS_CUT_ANSWERS");
    let cases = cases.map_or(1000, |count| count.parse().unwrap());
    let world = RefCell::new(World::new());
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    });
    let result = runner.run(&answers(), |answer| {
        let received = world.borrow_mut().scrape(&answer);
        let expected = answer.ends_well().then(|| answer.sent_body().to_vec());
        prop_assert_eq!(complete_body(&received), expected);
        Ok(())
    });
    result.unwrap();
}
