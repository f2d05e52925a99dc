//! The life of the process: start, bind, enter the sandbox, serve, reload, drain.
//!
//! Everything that the sandbox forbids later (opening listeners, starting threads) happens before
//! it is entered, and no connection is accepted before that. `sandbox::Sealed` proves the order.

pub(crate) mod sandbox;
pub(crate) mod systemd;
pub(crate) mod privileges;
pub mod listen;
pub(crate) mod reload;
pub(crate) mod workers;
pub mod run;
