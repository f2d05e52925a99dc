//! Behaviour of aegis, mostly from outside: the real binary, real TLS, real sockets.
#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic, and says why"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod admit;
mod handshake;
mod chains;
mod escaping;
mod pem_files;
mod key_leaks;
mod revocation;
mod route;
mod authorize;
mod upstream;
mod respond;
mod service_keys;
mod reasons;
mod hostile_scrapers;
mod hostile_headers;
mod hostile_services;
mod passed_descriptors;
mod hostile_bodies;
mod hostile_system;
mod hostile_memory;

mod discovery;
mod forget;
mod own_metrics;
mod logged_lines;
mod status;
mod status_history;
mod admin;
mod operate;
mod sandbox;

mod policy;
mod explain;
mod services;
mod command_line;

mod lifecycle;
mod systemd;
mod credential_copies;
mod reload;
mod restricted_reload;
mod broken_files;
mod config;
mod listen;
mod check;
mod check_report;
mod config_errors;
mod mistakes;
mod documents;
mod tidy;
