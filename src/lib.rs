//! Lets Prometheus scrape services that listen only on Unix sockets, over mutual TLS.
//!
//! # Life of a scrape
//!
//! ```text
//! TCP ─▶ admit ─▶ handshake ─▶ route ─▶ authorize ─▶ upstream ─▶ respond
//!        Admitted  Session      Asked    Permit       Connected
//! ```
//!
//! 1. [`listen`] accepts a connection. [`scrape::admit`] asks the [`policy`] about its
//!    [`peer`], before a byte is read, and gives it a counted place: [`scrape::Admitted`].
//! 2. [`scrape::connection`] begins. [`scrape::Handshake`] speaks TLS, verifies the client
//!    certificate and reads the [`identity`] of its leaf: [`scrape::Session`].
//! 3. For each request, `scrape/route.rs` turns the raw path into a [`service`] name.
//! 4. `scrape/authorize.rs` asks the policy again, with all three columns: [`policy::Permit`].
//! 5. [`scrape::Upstream`] uses the permit up to open, check and connect the service's socket.
//! 6. `scrape/respond.rs` asks the service with a request of aegis's own, and passes the answer
//!    on while it comes.
//!
//! Wherever it ends early, it ends in a [`refusal`].
//!
//! # Layout
//!
//! The modules below stand in reading order: words, inputs, the path, the life of the process.
//! Each names only what lies before it; the gate holds what the stages are made by, and
//! `scrape.rs` sees both. So do `scrape/explain.rs`, `scrape/probe.rs` and `scrape/operator.rs`,
//! which ask the stages for an operator. The views say what aegis knows of itself: they read the
//! gate and decide nothing. No connection is accepted before `sandbox.rs` has sealed the process.

pub mod peer;
pub mod networks;
pub mod identity;
pub(crate) mod formalities;
pub mod service;
pub mod refusal;
pub mod view;
pub mod escaped;
pub mod origin;
pub(crate) mod deadline;
pub(crate) mod unix_socket;

pub mod config;
pub mod credentials;
pub mod policy;
pub mod metrics;
pub mod outcomes;
pub mod log;

pub mod scrape;

pub(crate) mod forecast;
pub mod gate;
pub(crate) mod views;
pub(crate) mod sandbox;
pub(crate) mod systemd;
pub mod listen;
pub(crate) mod admin;
pub(crate) mod reload;
pub(crate) mod workers;
pub mod run;

pub mod cli;
