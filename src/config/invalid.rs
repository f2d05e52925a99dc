//! An invalid configuration.

use std::path::PathBuf;

use super::error::{ConfigError, Located};
use super::{AdminSocket, Config, Tls};
use crate::policy::Policy;
use crate::text::origin::Origin;

/// An invalid configuration, and what could be read of it. The files that it names are checked too,
/// so that all errors are reported at once.
#[derive(Debug)]
pub struct InvalidConfig {
    /// The errors; never empty.
    pub faults: Vec<ConfigError>,
    /// The socket directory.
    pub socket_dir: Option<Located<PathBuf>>,
    /// Certificates, key, CA and CRLs.
    pub tls: Option<Tls>,
    /// The policy, if it has no error.
    pub policy: Option<Policy>,
    /// The admin socket.
    pub admin: Option<AdminSocket>,
}

impl InvalidConfig {
    /// A configuration that could not be parsed.
    pub(super) fn unreadable(faults: Vec<ConfigError>) -> Box<Self> {
        Box::new(Self {
            faults,
            socket_dir: None,
            tls: None,
            policy: None,
            admin: None,
        })
    }

    /// Sorts the errors by line. If no file exists, an error before all others says so.
    pub(super) fn sort(&mut self) {
        self.faults.sort_by_key(ConfigError::line);
        if self.faults.iter().any(ConfigError::is_of_no_file) {
            let file = Config::DEFAULT_FILE;
            let problem = format!(
                "no configuration file: {file} does not exist; create it, or name another with --config"
            );
            self.faults
                .insert(0, ConfigError::new(&Origin::Unset, "", problem));
        }
    }
}
