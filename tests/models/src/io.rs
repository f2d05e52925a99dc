//! `crate::io` of aegis, and `tokio::io`.

pub(crate) mod deadline;

pub(crate) use shuttle_tokio::io::*;
