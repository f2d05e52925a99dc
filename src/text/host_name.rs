//! The name of this host, for the status page.

use std::fmt;

use super::escaped::Escaped;

/// The name of this host, escaped and bounded: a container can have any name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostName(String);

impl HostName {
    /// The name that the kernel has now.
    pub(crate) fn current() -> Self {
        Self::from_bytes(rustix::system::uname().nodename().to_bytes())
    }

    fn from_bytes(name: &[u8]) -> Self {
        // The kernel has at most 64 bytes.
        let name = name.get(..MAX_BYTES).unwrap_or(name);
        let name = if name.is_empty() { UNNAMED } else { name };
        Self(Escaped(name).to_string())
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const MAX_BYTES: usize = 64;

/// The name in place of an empty one.
const UNNAMED: &[u8] = b"(no host name)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_escaped_and_bounded() {
        let shown = |name: &[u8]| HostName::from_bytes(name).to_string();
        assert_eq!(shown(b"web-1.example.org"), "web-1.example.org");
        assert_eq!(shown(b"a\x1b[2J\n\xff"), "a\\x1b[2J\\x0a\\xff");
        assert_eq!(shown(&[b'a'; 65]), "a".repeat(64));
        assert_eq!(shown(&[0xff; 65]), "\\xff".repeat(64));
        assert_eq!(shown(b""), "(no host name)");
    }
}
