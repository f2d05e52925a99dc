//! What systemd, or whoever speaks its protocols, does for aegis: it hands over sockets
//! (sd_listen_fds(3)) and is told how aegis is (sd_notify(3)).

mod inherited;
mod supervisor;

pub(crate) use inherited::Inherited;
pub(crate) use supervisor::{Heart, Supervisor};
