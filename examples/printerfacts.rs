//! Facts about printers, for Prometheus, on a Unix socket: a model of a service behind aegis.
//!
//! `cargo run --example printerfacts -- /run/aegis/services/printerfacts.sock`
//!
//! Worth copying is how the socket comes and goes, and that no scraper can hold it up.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::Registry;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // They go to standard error as well: if that is closed, printing them would panic.
        .log_internal_errors(false)
        .init();
    let Some(socket) = std::env::args_os().nth(1).map(PathBuf::from) else {
        tracing::error!("usage: printerfacts SOCKET");
        return ExitCode::from(2);
    };
    match serve(&socket).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(socket = %socket.display(), %error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}

async fn serve(socket: &Path) -> io::Result<()> {
    // Before the socket is there: from here on a signal removes it instead of leaving it.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let facts = PrinterFacts::listen(socket).await?;
    tracing::info!(socket = %socket.display(), "ready");
    tokio::select! {
        never = facts.serve() => match never {},
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// A printer whose metrics are served on a socket; dropping it removes the socket.
pub(crate) struct PrinterFacts {
    socket: PathBuf,
    inode: (u64, u64),
    listener: UnixListener,
}

/// `sun_path` holds 107 bytes and a NUL (unix(7)).
const MAX_PATH_BYTES: usize = 107;

impl PrinterFacts {
    /// Puts a socket in place that its owner and its group may connect to.
    ///
    /// It has another name until it is complete, so that a scrape meets either no socket, or
    /// one that answers. A stale one is replaced in the same step.
    ///
    /// # Errors
    /// The name is that of a socket that is in use, or of another kind of file.
    pub(crate) async fn listen(socket: &Path) -> io::Result<Self> {
        // Not *.sock, which aegis would take for a service.
        let unfinished = socket.with_extension(std::process::id().to_string());
        let longest = socket.as_os_str().len().max(unfinished.as_os_str().len());
        if longest > MAX_PATH_BYTES {
            let problem = format!(
                "the path is too long, by {} bytes",
                longest - MAX_PATH_BYTES
            );
            return Err(io::Error::other(problem));
        }
        refuse_if_in_use(socket).await?;
        let listener = UnixListener::bind(&unfinished)?;
        let made = fs::symlink_metadata(&unfinished)?;
        let mut facts = Self {
            socket: unfinished,
            inode: (made.dev(), made.ino()),
            listener,
        };
        fs::set_permissions(&facts.socket, Permissions::from_mode(0o660))?;
        fs::rename(&facts.socket, socket)?;
        facts.socket = socket.to_owned();
        Ok(facts)
    }

    /// Prints pages and answers scrapes, until it is dropped.
    pub(crate) async fn serve(self) -> Infallible {
        let (registry, printing) = printer();
        tokio::select! {
            never = accept(&self.listener, registry) => never,
            never = printing => never,
        }
    }
}

impl Drop for PrinterFacts {
    /// Leaves a successor's socket alone. While the listener is open, its inode stays its own.
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.socket);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.inode) {
            drop(fs::remove_file(&self.socket));
        }
    }
}

/// Tells a socket that a crash left behind from one that is in use.
async fn refuse_if_in_use(socket: &Path) -> io::Result<()> {
    if fs::symlink_metadata(socket).is_ok_and(|found| !found.file_type().is_socket()) {
        return Err(io::Error::other("the file that is there is no socket"));
    }
    #[expect(clippy::disallowed_methods, reason = "its own socket")]
    match UnixStream::connect(socket).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        // Any other error, such as that of a full backlog, can be a live one's.
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("something answers on it already")),
    }
}

async fn accept(listener: &UnixListener, registry: Arc<Registry>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(connection(stream, Arc::clone(&registry)))),
            // Most likely too many open files: to ask again at once would burn the CPU.
            Err(error) => {
                tracing::warn!(%error, "cannot accept; resting");
                sleep(REST).await;
            }
        }
    }
}

/// Answers one request, whose scraper may neither take its time to ask nor to read.
async fn connection(stream: UnixStream, registry: Arc<Registry>) {
    let answer = service_fn(|request| std::future::ready(answer(&request, &registry)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    // The scraper reports how the scrape ended.
    drop(timeout(SCRAPE_TIMEOUT, served).await);
}

/// More scrapers at once wait in the socket's backlog.
const CONNECTIONS: usize = 16;
const REST: Duration = Duration::from_millis(250);
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Prometheus waits no longer by default.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

fn answer<B>(request: &Request<B>, registry: &Registry) -> io::Result<Response<Full<Bytes>>> {
    let (status, content_type, text) = match (request.method(), request.uri().path()) {
        // To HEAD, hyper sends the head of the same answer.
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let mut text = String::new();
            encode(&mut text, registry).map_err(io::Error::other)?;
            (StatusCode::OK, OPENMETRICS, text)
        }
        (_, "/metrics") => (METHOD, PLAIN, "GET or HEAD\n".into()),
        _ => (StatusCode::NOT_FOUND, PLAIN, "see /metrics\n".into()),
    };
    let head = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type);
    head.header(ALLOW, "GET, HEAD")
        .body(text.into())
        .map_err(io::Error::other)
}

const METHOD: StatusCode = StatusCode::METHOD_NOT_ALLOWED;
const PLAIN: &str = "text/plain; charset=utf-8";
/// What the encoder writes; Prometheus takes it.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A printer's metrics and its work. Work moves them; a scrape only reads them.
fn printer() -> (Arc<Registry>, impl Future<Output = Infallible>) {
    let mut registry = Registry::with_prefix("printer");
    let (facts, pages) = (Counter::<u64>::default(), Counter::<u64>::default());
    let paper = Gauge::<i64>::default();
    let mood = Histogram::new([0.1, 0.5, 0.9]);
    registry.register("facts_told", "Told while out of paper", facts.clone());
    registry.register("pages_printed", "Pages printed", pages.clone());
    registry.register("paper_sheets", "Sheets in the cassette", paper.clone());
    registry.register("mood", "0 PC LOAD LETTER to 1 fresh toner", mood.clone());
    let working = async move {
        let mut page = interval(Duration::from_secs(1));
        loop {
            page.tick().await;
            if paper.get() == 0 {
                facts.inc();
                paper.set(REAM);
            }
            pages.inc();
            mood.observe(paper.dec() as f64 / REAM as f64);
        }
    };
    (Arc::new(registry), working)
}

const REAM: i64 = 500;
