//! Lets Prometheus scrape services that listen only on Unix sockets, over mutual TLS.

pub mod peer;
pub mod networks;
pub mod identity;
pub mod service;
pub mod refusal;
pub mod escaped;

pub mod config;
pub mod credentials;
pub mod policy;
pub mod metrics;
pub mod log;

pub mod scrape;

pub mod gate;
pub mod listen;
pub mod run;

pub mod cli;
