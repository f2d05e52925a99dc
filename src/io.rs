//! Deadlines, Unix sockets that reject passed descriptors, threads for file systems that can hang, and the
//! way that a path takes.

pub(crate) mod deadline;
pub(crate) mod unix_socket;
pub(crate) mod file_deadline;
pub(crate) mod files;
pub(crate) mod file_systems;
pub(crate) mod route;
mod file_threads;
