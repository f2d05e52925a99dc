//! Where aegis listens: at an address, or on what systemd listens on for it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// One entry of `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port, bound by aegis.
    Address(SocketAddr),
    /// Every socket that systemd hands over and no other entry names.
    Inherited,
    /// The sockets that systemd hands over by this name (`FileDescriptorName=`).
    InheritedAs(String),
}

impl Listen {
    /// The address, where one is written.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Inherited | Self::InheritedAs(_) => None,
        }
    }

    /// The name of a socket, where one is written.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::InheritedAs(name) => Some(name),
            Self::Address(_) | Self::Inherited => None,
        }
    }
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("systemd") {
            Some("") => Ok(Self::Inherited),
            Some(rest) => match rest.strip_prefix(':') {
                Some(name) if is_name(name) => Ok(Self::InheritedAs(name.to_owned())),
                Some(_) | None => Err(
                    "is not a socket of systemd; write systemd, or systemd:NAME with the FileDescriptorName= of the .socket unit",
                ),
            },
            None => address(text).map(Self::Address),
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    match text.parse() {
        Err(_) => Err(
            "is not an address with a port; write [::1]:31337 or 127.0.0.1:31337, or systemd for a socket that systemd listens on",
        ),
        Ok(SocketAddr::V6(v6)) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => Err(
            "is link-local and has no zone; use a global or unique local address, such as one in fd00::/8",
        ),
        Ok(address) => Ok(address),
    }
}

/// Whether systemd accepts this name (`sd_listen_fds_with_names(3)`).
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b':';
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.bytes().all(is_plain)
}

const MAX_NAME_BYTES: usize = 255;

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Inherited => f.write_str("systemd"),
            Self::InheritedAs(name) => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn listen_addresses_parse_as_std_does_and_round_trip(
            text in r"(systemd)?:?[ -~]{0,12}|\[[0-9a-f:]{2,9}(%[0-9]{1,3})?\]:[0-9]{1,6}|\[(::1|::|fd00::7|fe80::1(%2)?)\]:[0-9]{1,6}|([0-9]{1,3}\.){3}[0-9]{1,3}:[0-9]{1,6}",
        ) {
            let address: Option<SocketAddr> = text.parse().ok();
            match text.parse::<Listen>() {
                Ok(listen) => {
                    prop_assert_eq!(listen.address(), address);
                    let is_name = |name: &str| !name.is_empty() && !name.contains(':');
                    prop_assert!(listen.name().is_none_or(is_name));
                    prop_assert_eq!(listen.to_string().parse(), Ok(listen));
                }
                Err(_) => {
                    let is_unusable = address.is_none_or(|address| match address {
                        SocketAddr::V6(v6) => v6.ip().is_unicast_link_local() && v6.scope_id() == 0,
                        SocketAddr::V4(_) => false,
                    });
                    prop_assert!(is_unusable);
                }
            }
        }
    }
}
