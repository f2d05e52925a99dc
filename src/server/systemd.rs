//! systemd's protocols: inherited sockets (sd_listen_fds(3)) and notifications (sd_notify(3)). Any
//! service manager that speaks them will do.

mod inherited;
mod supervisor;

pub(crate) use inherited::Inherited;
pub(crate) use supervisor::{Heartbeat, Supervisor};
