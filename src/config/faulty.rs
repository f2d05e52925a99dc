//! A configuration with faults.

use std::path::PathBuf;

use super::fault::{Fault, Given};
use super::{AdminSocket, Config, Tls};
use crate::origin::Origin;

/// A configuration with faults, and what it names that could be read all the same: whoever looks
/// at that as well can say everything at once.
#[derive(Debug)]
pub struct Faulty {
    /// What is wrong; never nothing.
    pub faults: Vec<Fault>,
    /// The socket directory.
    pub socket_dir: Option<Given<PathBuf>>,
    /// Certificates, key, CA and CRLs.
    pub tls: Option<Tls>,
    /// The socket of the operator.
    pub admin: Option<AdminSocket>,
}

impl Faulty {
    /// One of which nothing can be said but that.
    pub(super) fn throughout(faults: Vec<Fault>) -> Box<Self> {
        Box::new(Self {
            faults,
            socket_dir: None,
            tls: None,
            admin: None,
        })
    }

    /// Puts the faults in the order of the file, and says before all of them if there is none.
    pub(super) fn arrange(&mut self) {
        self.faults.sort_by_key(Fault::line);
        if self.faults.iter().any(Fault::is_of_no_file) {
            let file = Config::DEFAULT_FILE;
            let problem = format!(
                "no file was read: {file} is not there; write it, or name another by --config"
            );
            self.faults
                .insert(0, Fault::new(&Origin::Unset, "", problem));
        }
    }
}
