//! Text from outside and where it came from: made safe for logs, and kept free of secrets.

pub mod origin;
pub mod escaped;
pub(crate) mod pem;
pub(crate) mod percent;
pub(crate) mod similar;
pub(crate) mod host;
pub(crate) mod host_name;
pub(crate) mod json;
pub(crate) mod media_type;
pub(crate) mod time;
