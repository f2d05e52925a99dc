//! Lets Prometheus scrape services that listen only on Unix sockets, over mutual TLS.
//!
//! # Life of a scrape
//!
//! ```text
//! TCP ─▶ admit ─▶ handshake ─▶ route ─▶ authorize ─▶ upstream ─▶ respond
//!        Admitted  Session      Request  Permit       Connected
//! ```
//!
//! 1. [`server::listen`] accepts a connection. [`scrape::admit`] asks the [`policy`] about its
//!    address, before a byte is read, and counts the connection: [`scrape::Admitted`].
//! 2. [`scrape::connection`] begins. `scrape/handshake.rs` speaks TLS, [`tls`] verifies the client
//!    certificate, and the identity of its leaf is read: [`scrape::Session`].
//! 3. `http` reads the head of each request. `scrape/route.rs` turns its raw path into the name of a
//!    service, or into a view: a page that aegis itself answers, such as `/-/sd`.
//! 4. `scrape/authorize.rs` asks the policy about address, identity and service: [`policy::Permit`].
//! 5. `scrape/upstream.rs` takes the permit. [`services`] opens and checks the socket of the service,
//!    and connects it.
//! 6. `scrape/respond.rs` writes a new request to the service, and passes its answer on as it arrives.
//!
//! A step that fails ends the scrape with a [`refusal`]. `scrape/exchange.rs` calls steps 4 to 6, or
//! `web` for a view.
//!
//! # Layout
//!
//! The rooms stand in the order below. A room names only earlier ones; `tests/it/tidy.rs` asserts it.
//!
//! | room | what is in it |
//! |---|---|
//! | `text` | text from outside: escaping, hiding private keys, where a value came from |
//! | `io` | deadlines, Unix sockets, threads for file systems that can hang, links on a path |
//! | `refusal` | every way to say no: the one enum, its sentences and remedies |
//! | `policy` | peers, networks, identities, service names; who may scrape what |
//! | `config` | what operators write, checked: all errors at once |
//! | `http` | reads requests and writes answers, for scrapers and the admin socket |
//! | `tls` | certificates, CAs, CRLs, RFC 5280, the client verifier, rustls' configuration |
//! | `services` | which services there are, their directories, how a socket is opened safely |
//! | `telemetry` | log, metrics, last scrapes, and the recorder that writes all three |
//! | `gate` | one immutable snapshot of policy, TLS, services and limits, and its warnings |
//! | `state` | what connections share: the gate in force, limiters, draining |
//! | `web` | status page, discovery, own metrics, health: reads, decides nothing |
//! | `scrape` | the six stages; `explain` and `probe` run some of them for a command |
//! | `admin` | the admin socket and its requests |
//! | `server` | the process: run, listen, workers, reload, sandbox, systemd |
//! | `cli` | the commands |
//!
//! # Where a change goes
//!
//! | change | files |
//! |---|---|
//! | a new reason for a refusal | `refusal.rs`, `refusal/remedy.rs` |
//! | a key of a service | `config.rs` for `ServiceSettings`, `config/services.rs` to read it; then where it is used |
//! | a limit | `config/limits.rs`; then where it is used |
//! | another view | `http/view.rs` for its path, `web` for its answer, `telemetry/recorder.rs` for its log level |
//! | an action of the admin socket | `admin/requests.rs`; its command: `cli/operate.rs` |
//! | a further file that is watched | `Tls::files` in `config.rs`; the watch and the sandbox follow it |
//! | a metric | `telemetry/metrics.rs`; `telemetry/recorder.rs` counts; `web/metrics.rs` fills in what is read at each scrape |
//! | another command | `cli.rs` and a file in `cli` |
//! | a warning at the start and in `aegis check` | `gate/warnings.rs` |
//! | a system call that the sandbox allows | `server/sandbox/calls.rs` |
//!
//! Keys and limits also stand in `deploy/aegis.toml`; keys, limits, reasons, views, actions, metrics
//! and commands in `docs/reference.md`.

pub mod text;
pub(crate) mod io;
pub mod refusal;
pub mod policy;
pub mod config;
pub(crate) mod http;
pub mod tls;
pub mod services;
pub mod telemetry;
pub mod gate;
pub mod state;
pub(crate) mod web;
pub mod scrape;
pub(crate) mod admin;
pub mod server;
pub mod cli;
