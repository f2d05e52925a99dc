//! Services behind aegis, which show how it read a target: each answers with its own name and the
//! query that it was asked.

use std::future::{self, Ready};
use std::path::Path;
use std::thread;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

use crate::Outcome;
use crate::tables::TARGETS;

/// Starts them in a thread, with their sockets in this folder.
pub fn start(folder: &Path) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let inside = runtime.enter();
    for name in names() {
        let listener = UnixListener::bind(folder.join(format!("{name}.sock")))?;
        #[expect(clippy::disallowed_methods, reason = "a server in a test")]
        tokio::spawn(serve(listener, answer_of(name)));
    }
    drop(inside);
    thread::spawn(move || runtime.block_on(future::pending::<()>()));
    Ok(())
}

/// The names that targets have in a single segment, also those that aegis must refuse, and the
/// names in bodies and behind the heads.
fn names() -> impl Iterator<Item = &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@:".contains(&byte);
    let names = TARGETS.iter().filter_map(move |target| {
        let name = str::from_utf8(target.strip_prefix(b"/")?).ok()?;
        let is_file = !matches!(name, "" | "." | "..");
        (is_file && name.bytes().all(is_plain)).then_some(name)
    });
    // `metrics` is aegis itself.
    names
        .filter(|name| *name != "metrics")
        .chain(["node", "last", "b"])
}

/// The answer of a service: its name, and the query that it was asked.
fn answer_of(
    name: &'static str,
) -> impl Fn(Request<Incoming>) -> Ready<hyper::Result<Response<Full<Bytes>>>> + Clone {
    move |request| {
        let query = request.uri().query();
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        let body = Full::new(Bytes::from(format!("seen: /{name}{query}\n")));
        let answer = Response::builder().header("Content-Type", "text/plain");
        future::ready(Ok(answer.body(body).unwrap()))
    }
}

/// Serves HTTP by hyper, with its defaults.
pub async fn serve<A, F>(listener: UnixListener, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = hyper::Result<Response<Full<Bytes>>>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let connection = http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service_fn(answer.clone()));
        #[expect(clippy::disallowed_methods, reason = "a server in a test")]
        // An error means that hyper refuses the bytes.
        tokio::spawn(async { drop(connection.await) });
    }
}
