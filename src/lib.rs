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
//!    address, before a byte is read, and takes a counted place: [`scrape::Admitted`].
//! 2. [`scrape::connection`] begins. `scrape/handshake.rs` speaks TLS, [`tls`] verifies the client
//!    certificate, and the identity of its leaf is read: [`scrape::Session`].
//! 3. `http` reads the head of each request. `scrape/route.rs` turns its raw path into the name of a
//!    service, or into a view.
//! 4. `scrape/authorize.rs` asks the policy again, with all three columns: [`policy::Permit`].
//! 5. `scrape/upstream.rs` uses the permit up: [`services`] opens and checks the service's socket, and
//!    it is connected.
//! 6. `scrape/respond.rs` sends a request of aegis's own, and passes the answer on while it comes.
//!
//! Wherever it ends early, it ends in a [`refusal`]. `scrape/exchange.rs` has steps 4 to 6 in order.
//!
//! # Layout
//!
//! The rooms stand in the order below. A room names only earlier ones; `tests/it/tidy.rs` asserts it.
//!
//! | room | what is in it |
//! |---|---|
//! | `text` | text from outside: escaping, finding keys in it, where a value came from |
//! | `io` | deadlines, Unix sockets, threads for file systems that can hang |
//! | `refusal` | every way to say no: the one enum, its sentences and remedies |
//! | `policy` | peers, networks, identities, service names; who may scrape what |
//! | `config` | what operators write, checked: all errors at once |
//! | `http` | reads requests and writes answers, for scrapers and the admin socket |
//! | `tls` | certificates, CAs, CRLs, RFC 5280, the client verifier, rustls' configuration |
//! | `services` | which services there are, their directories, how a socket is opened safely |
//! | `telemetry` | log, metrics, last scrapes, and the recorder that writes all three |
//! | `gate` | the immutable snapshot that decides every request, and its warnings |
//! | `state` | what connections share and what changes: the gate in force, limiters, draining |
//! | `web` | status page, discovery, own metrics, health: reads, decides nothing |
//! | `scrape` | the six stages; also `explain` and `probe`, which ask them for an operator |
//! | `admin` | the admin socket and its requests |
//! | `server` | the process: run, listen, workers, reload, sandbox, systemd |
//! | `cli` | the commands |
//!
//! # Where a change goes
//!
//! | change | files |
//! |---|---|
//! | a new reason for a refusal | `refusal.rs`, `refusal/remedy.rs` |
//! | a key of a service | `config/services.rs`, then where it is used: `services` or `scrape` |
//! | a limit | `config/limits.rs` |
//! | another view | `http/view.rs` for its path, `web` for its answer |
//! | an action of the admin socket | `admin/requests.rs` |
//! | a further file that is watched | `server/reload/watched.rs` |
//! | a metric | `telemetry/metrics.rs`; a fact about scrapes: `telemetry/recorder.rs` |
//! | a warning at the start and in `aegis check` | `gate/warnings.rs` |
//! | a system call that the sandbox allows | `server/sandbox/calls.rs` |

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
