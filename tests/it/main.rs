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
mod foreign_text;
mod revocation;
mod route;
mod authorize;
mod upstream;
mod respond;
mod hostile_scrapers;
mod hostile_heads;
mod hostile_services;
mod passed_descriptors;
mod hostile_bodies;
mod hostile_system;
mod hostile_memory;

mod discovery;
mod own_metrics;
mod status;
mod admin;
mod sandbox;

mod policy;
mod explain;
mod services;
mod command_line;

mod life;
mod systemd;
mod reload;
mod broken_files;
mod config;
mod listen;
mod check;
mod faults;
mod documents;
mod tidy;
