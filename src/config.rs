//! The configuration: flags over the environment over the file over the defaults.
//!
//! What was written becomes a `Section` of values that know their line; `read` turns it
//! into a [`Config`] in which nothing is left to check, or into every fault at once.

mod fault;
mod faulty;
mod file;
mod limits;
mod listen;
mod overrides;
mod read;
mod section;
mod services;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::origin::Origin;
use crate::policy::Policy;
use crate::service::ServiceName;

pub use fault::{Fault, Given};
pub use faulty::Faulty;
pub(crate) use file::read_bounded;
pub use limits::Limits;
pub use listen::Listen;
pub use overrides::Overrides;
use section::Section;

/// Everything that `aegis serve` runs by, checked.
#[derive(Debug)]
pub struct Config {
    /// Where to listen; at least one.
    pub listen: Vec<Given<Listen>>,
    /// The directory in which `NAME.sock` answers at `/NAME`.
    pub socket_dir: Given<PathBuf>,
    /// The socket on which aegis speaks to its operator, if there is one.
    pub admin: Option<AdminSocket>,
    /// The address and port by which discovery names aegis, if not that which is asked.
    pub advertise: Option<String>,
    /// Certificates, key, CA and CRLs, by their files.
    pub tls: Tls,
    /// Who may scrape what, from where.
    pub policy: Policy,
    /// The services that have settings of their own.
    pub services: BTreeMap<ServiceName, Service>,
    /// The bound of everything.
    pub limits: Limits,
    /// How the process is confined by the kernel.
    pub sandbox: Sandbox,
    /// How logs are written.
    pub log: Log,
    /// What is allowed, but will hurt; one sentence each.
    pub warnings: Vec<String>,
}

impl Config {
    /// Loads the configuration: the file, if there is one, with the overrides over it.
    ///
    /// Without a path of its own, [`Config::DEFAULT_FILE`] is read if it exists.
    ///
    /// # Errors
    /// Every fault that was found, each with its file, line and key.
    pub fn load(overrides: &Overrides) -> Result<Self, Vec<Fault>> {
        Self::read(overrides).map_err(|faulty| faulty.faults)
    }

    /// As [`Config::load`], but where it has faults, one learns what it names nevertheless.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn read(overrides: &Overrides) -> Result<Self, Box<Faulty>> {
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        let written = written(overrides, &mut faults, &mut warnings);
        // All else would only be said to be missing.
        let mut written = match written {
            Ok(written) if faults.is_empty() => written,
            Ok(_) => return Err(Faulty::throughout(faults)),
            Err(fault) => return Err(Faulty::throughout(vec![fault])),
        };
        overrides.lay_over(&mut written, &mut faults, &mut warnings);
        read::config(written, warnings, faults).map_err(|mut faulty| {
            faulty.arrange();
            faulty
        })
    }

    /// Reads only where the admin socket is: whether `aegis serve` is well can be asked beside a
    /// configuration that is broken by now.
    ///
    /// # Errors
    /// The file cannot be read, or what it says of the admin socket cannot be understood.
    pub fn admin_socket(overrides: &Overrides) -> Result<Option<PathBuf>, Vec<Fault>> {
        let (mut elsewhere, mut warnings) = (Vec::new(), Vec::new());
        let written = written(overrides, &mut elsewhere, &mut warnings);
        let mut written = written.map_err(|fault| vec![fault])?;
        overrides.lay_over(&mut written, &mut elsewhere, &mut warnings);
        let mut faults = Vec::new();
        let admin = read::admin(&mut written, &mut faults);
        match faults.is_empty() {
            true => Ok(admin.map(|admin| admin.path.value)),
            false => Err(faults),
        }
    }

    /// The addresses to bind.
    #[must_use]
    pub fn addresses(&self) -> Vec<Given<SocketAddr>> {
        let addresses = self.listen.iter().filter_map(|given| {
            let value = given.value.address()?;
            let origin = given.origin.clone();
            Some(Given { value, origin })
        });
        addresses.collect()
    }

    /// The file that these overrides stand over, whether it is there or not.
    #[must_use]
    pub fn file(overrides: &Overrides) -> &Path {
        let default = Path::new(Self::DEFAULT_FILE);
        overrides.config.as_deref().unwrap_or(default)
    }

    /// The file that is read when none is named.
    pub const DEFAULT_FILE: &str = "/etc/aegis/aegis.toml";
}

/// How the process is confined by the kernel once it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// As far as the kernel can; what it cannot is said.
    #[default]
    BestEffort,
    /// Fully, or it does not start.
    Required,
    /// Not at all.
    UnsafeNone,
}

/// The socket on which aegis speaks to its operator in plain HTTP. Who may open it may ask.
#[derive(Clone, Debug)]
pub struct AdminSocket {
    /// Where it is.
    pub path: Given<PathBuf>,
    /// The permission bits of its file.
    pub mode: u32,
}

/// Certificates, key, CA and CRLs, by their files.
#[derive(Debug)]
pub struct Tls {
    /// The server's certificate chain, leaf first (PEM).
    pub cert_file: Given<PathBuf>,
    /// The private key of that leaf (PEM).
    pub key_file: Given<PathBuf>,
    /// The CA certificates that client certificates must lead to (PEM).
    pub client_ca_file: Given<PathBuf>,
    /// CRLs (PEM or DER). With any, the status of every certificate in a chain must be known.
    pub client_crl_files: Vec<Given<PathBuf>>,
    /// What becomes of the certificates of a CA whose CRL has run out.
    pub expired_crls: ExpiredCrls,
    /// The oldest TLS version that is spoken.
    pub min_version: TlsVersion,
}

impl Tls {
    /// Every file that is named here.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.cert_file, &self.key_file, &self.client_ca_file];
        let files = files.into_iter().chain(&self.client_crl_files);
        files.map(|given| given.value.as_path())
    }
}

/// What becomes of the certificates of a CA whose CRL has run out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiredCrls {
    /// They are refused: nobody says any more that they are good.
    #[default]
    Refuse,
    /// The old list goes on to be asked, and who was revoked since is let in.
    UnsafeAccept,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246) with the extended master secret.
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[default]
    V1_3,
}

/// What one service does differently.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its socket, if that is not `socket_dir/NAME.sock`.
    pub socket: Option<PathBuf>,
    /// The path that is asked of it.
    pub path: String,
    /// The query parameters that a scraper may send.
    pub params: Vec<String>,
    /// The uid that must own the socket and answer on it.
    pub owner: Option<u32>,
    /// Labels of its targets: for whoever discovers them.
    pub labels: BTreeMap<String, String>,
    /// The longest that a scrape of it may take, and its timeout when the scraper names none.
    pub timeout: Option<Duration>,
    /// Bytes of its answer's body.
    pub max_body: u64,
    /// Scrapes of it at once.
    pub max_concurrent: usize,
}

impl Service {
    /// The settings of a service that the configuration does not name.
    #[must_use]
    pub fn unnamed(limits: &Limits) -> Self {
        Self {
            socket: None,
            path: Self::DEFAULT_PATH.to_owned(),
            params: Vec::new(),
            owner: None,
            labels: BTreeMap::new(),
            timeout: None,
            max_body: limits.response_body,
            max_concurrent: limits.scrapes_per_service,
        }
    }

    const DEFAULT_PATH: &str = "/metrics";
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// The least level that is written.
    pub level: LogLevel,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One line of text each.
    #[default]
    Text,
}

/// The least level of log lines that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// An operator must act.
    Error,
    /// Something is degraded.
    Warn,
    /// Start, stop and one line for each scrape.
    #[default]
    Info,
    /// Refusals of strangers too.
    Debug,
}

/// Reads what the file says, or nothing if there is none.
fn written(
    overrides: &Overrides,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<String>,
) -> Result<Section, Fault> {
    let path = Config::file(overrides);
    let origin = match &overrides.config {
        Some(_) => Origin::Flag(overrides.name("--config", "AEGIS_CONFIG")),
        // One that cannot be looked at is read all the same, to say why.
        None if matches!(path.try_exists(), Ok(false)) => return Ok(Section::empty("")),
        None => Origin::Unset,
    };
    warnings.extend(file::writable_by_all(path));
    parse_file(path, origin, faults)
}

/// Reads a file's table, with what is wrong in it; an error if there is nothing to read.
fn parse_file(path: &Path, origin: Origin, faults: &mut Vec<Fault>) -> Result<Section, Fault> {
    let fault = |problem: String| {
        let problem = format!("{} {problem}", path.display());
        Fault::new(&origin, "", problem)
    };
    let bytes = read_bounded(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| fault("is not UTF-8, as a TOML file must be".to_owned()))?;
    Ok(Section::parse(path, &text, faults))
}
