//! Certificates, CAs, CRLs, the rules of RFC 5280, and rustls' configuration.

pub(crate) mod rfc5280;
pub mod credentials;
mod cause;
mod client_verifier;
mod refused;
mod server_tls;
#[cfg(test)]
mod x509_limbo;

pub(crate) use client_verifier::{TrustRestrictions, soonest_not_after};
pub(crate) use refused::{refusal_of_handshake_error, with_rejected_leaf_capture};
pub use server_tls::ServerTls;
