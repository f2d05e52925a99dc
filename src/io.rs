//! Deadlines, Unix sockets that reject passed descriptors, and threads for file systems that can hang.

pub(crate) mod deadline;
pub(crate) mod unix_socket;
pub(crate) mod file_deadline;
pub(crate) mod files;
mod file_threads;
