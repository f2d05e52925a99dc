//! Compares with a reference: hyper's server reads each accepted head in the same way.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Empty;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::http::BodyPolicy;

/// The requests in some bytes as hyper reads them: method, target, and whether a body follows.
fn read_by_hyper(bytes: &str) -> Vec<(String, String, bool)> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&seen);
    let serve = service_fn(move |request: Request<Incoming>| {
        let has_body = !request.body().is_end_stream();
        let (method, target) = (request.method().to_string(), request.uri().to_string());
        requests.lock().push((method, target, has_body));
        std::future::ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        let (mut scraper, stream) = tokio::io::duplex(64 * 1024);
        scraper.write_all(bytes.as_bytes()).await.unwrap();
        scraper.shutdown().await.unwrap();
        let serving = http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(stream), serve);
        // An error means that hyper refuses the bytes.
        drop(serving.await);
    });
    let seen = seen.lock();
    seen.clone()
}

const TARGETS: &[&str] = &[
    "/node",
    "/node?x=1",
    "/node?x=1#y",
    "/a.b",
    "/",
    "/?refresh=off",
    "/?refresh=off&x",
    "//node",
    "/node/",
    "/../node",
    "/%6eode",
    "*",
    "node",
    "http://a/node",
    "/node#x",
    "/no de",
    "/node?",
];

const HEADERS: &[&str] = &[
    "Host: a\r\n",
    "Host: a\r\n",
    "Host: a\r\n",
    "Host:a\r\n",
    "host: \r\n",
    "Host: a, b\r\n",
    "Host: [::1]:9443\r\n",
    "Host : a\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0, 0\r\n",
    "Content-Length: -0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Upgrade: h2c\r\n",
    "Expect: 100-continue\r\n",
    "Accept: text/plain\r\n",
    "Accept: a\r\n b\r\n",
    "Accept:\ta\r\n",
    "X: \u{f6}\r\n",
    ": x\r\n",
    "X\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn hyper_reads_every_accepted_head_as_the_same_request_without_a_body(
        method in select(&["GET", "GET", "HEAD", "POST", "get", "GET "][..]),
        target in select(TARGETS),
        version in select(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", ""][..]),
        headers in vec(select(HEADERS), 0..4),
    ) {
        let head = format!("{method} {target} {version}\r\n{}\r\n", headers.concat());
        let Ok(accepted) = route(head.as_bytes(), &Limits::default()) else {
            return Ok(());
        };
        let method = match accepted.reply.body {
            BodyPolicy::Send => "GET",
            BodyPolicy::Omit => "HEAD",
        };
        let query = accepted.query.map(|query| format!("?{query}")).unwrap_or_default();
        let path = match accepted.target {
            Target::Service(service) => format!("/{service}"),
            Target::View(view) => view.target().to_owned(),
        };
        let read = (method.to_owned(), format!("{path}{query}"), false);
        prop_assert_eq!(read_by_hyper(&head), vec![read], "{:?}", head);
    }
}
