//! The admin socket: plain HTTP on a Unix socket, for every user whom the mode of its file admits.

mod requests;
mod socket;

pub(crate) use socket::*;
