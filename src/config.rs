//! The configuration: flags over the environment over the file over the defaults.
//!
//! The file becomes a `Section` of values that know their line. `read` turns it into a [`Config`]
//! in which nothing is left to check, or into every error at once.

mod error;
mod invalid;
mod file;
mod limits;
mod listen;
mod overrides;
mod owner;
mod read;
mod reader;
mod section;
mod services;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::policy::Policy;
use crate::policy::service_name::ServiceName;
use crate::text::origin::Origin;
use crate::text::pem;

pub(crate) use error::bounded;
pub use error::{ConfigError, Located};
pub(crate) use file::read_bounded;
pub use invalid::InvalidConfig;
pub use limits::Limits;
pub use listen::Listen;
pub use overrides::Overrides;
pub use owner::{Owner, Users};
use reader::Reader;
use section::Section;

/// The checked configuration of `aegis serve`.
#[derive(Debug)]
pub struct Config {
    /// Where to listen; at least one.
    pub listen: Vec<Located<Listen>>,
    /// The directory in which `NAME.sock` answers at `/NAME`.
    pub socket_dir: Located<PathBuf>,
    /// The admin socket, if there is one.
    pub admin: Option<AdminSocket>,
    /// The address and port that discovery gives for aegis, if not those of the request.
    pub advertise: Option<String>,
    /// Certificates, key, CA and CRLs, by their files.
    pub tls: Tls,
    /// Which scrapers may scrape which services, and from where.
    pub policy: Policy,
    /// The services that have settings of their own.
    pub services: BTreeMap<ServiceName, ServiceSettings>,
    /// How long a service stays known after its socket vanished; `None` is for ever.
    pub forget_after: Option<Duration>,
    /// All limits.
    pub limits: Limits,
    /// How the process is confined by the kernel.
    pub sandbox: Sandbox,
    /// How logs are written.
    pub log: Log,
    /// Settings that are allowed but risky; one sentence each.
    pub warnings: Vec<String>,
    /// Keys of the file that flags or variables replace; one sentence each.
    pub notes: Vec<String>,
}

impl Config {
    /// Loads the configuration: the file, if there is one, with the overrides over it.
    ///
    /// Without a path of its own, [`Config::DEFAULT_FILE`] is read if it exists.
    ///
    /// # Errors
    /// Every error, each with its file, line and key.
    pub fn load(overrides: &Overrides) -> Result<Self, Vec<ConfigError>> {
        Self::read(overrides).map_err(|invalid| invalid.faults)
    }

    /// As [`Config::load`], but an invalid configuration still tells what it names.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn read(overrides: &Overrides) -> Result<Self, Box<InvalidConfig>> {
        let (section, faults) =
            parse(overrides).map_err(|fault| InvalidConfig::unreadable(vec![fault]))?;
        // Every other key would only be reported as missing.
        if !faults.is_empty() {
            return Err(InvalidConfig::unreadable(faults));
        }
        let warnings = file::writable_by_all(Self::file(overrides));
        let warnings = warnings.into_iter().collect();
        read::config(section, overrides, warnings).map_err(|mut invalid| {
            invalid.sort();
            invalid
        })
    }

    /// Reads only the path of the admin socket: the health of `aegis serve` can be queried even if
    /// the configuration is broken by now.
    ///
    /// # Errors
    /// The file cannot be read, or its settings of the admin socket are invalid.
    pub fn admin_socket(overrides: &Overrides) -> Result<Option<PathBuf>, Vec<ConfigError>> {
        let (section, mut elsewhere) = parse(overrides).map_err(|fault| vec![fault])?;
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        let mut root = Reader::new(section, &mut elsewhere, &mut warnings);
        drop(overrides.apply(&mut root));
        root.faults = &mut faults;
        let admin = read::admin(&mut root);
        if faults.is_empty() {
            Ok(admin.map(|admin| admin.path.value))
        } else {
            Err(faults)
        }
    }

    /// The addresses to bind.
    #[must_use]
    pub fn addresses(&self) -> Vec<Located<SocketAddr>> {
        let addresses = self.listen.iter().filter_map(|given| {
            let value = given.value.address()?;
            let origin = given.origin.clone();
            Some(Located { value, origin })
        });
        addresses.collect()
    }

    /// The file that these overrides apply to, whether it exists or not.
    #[must_use]
    pub fn file(overrides: &Overrides) -> &Path {
        let default = Path::new(Self::DEFAULT_FILE);
        overrides.config.as_deref().unwrap_or(default)
    }

    /// The file that is read if no other is named.
    pub const DEFAULT_FILE: &str = "/etc/aegis/aegis.toml";
}

/// How the process is confined by the kernel once it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// As far as the kernel supports it; the rest is logged.
    #[default]
    BestEffort,
    /// Completely, or aegis does not start.
    Required,
    /// Not at all.
    UnsafeNone,
}

/// The admin socket, which speaks plain HTTP. Its file mode decides which users may connect.
#[derive(Clone, Debug)]
pub struct AdminSocket {
    /// Where it is.
    pub path: Located<PathBuf>,
    /// The permission bits of its file.
    pub mode: u32,
}

/// Certificates, key, CA and CRLs, by their files.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate chain, leaf first (PEM).
    pub cert_file: Located<PathBuf>,
    /// The private key of that leaf (PEM).
    pub key_file: Located<PathBuf>,
    /// The CA certificates that client certificates must chain to (PEM).
    pub client_ca_file: Located<PathBuf>,
    /// CRLs (PEM or DER). With any, the status of every certificate in a chain must be known.
    pub client_crl_files: Vec<Located<PathBuf>>,
    /// How certificates of a CA are handled whose CRL has expired.
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

/// How certificates of a CA are handled whose CRL has expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiredCrls {
    /// They are refused: their status is unknown.
    #[default]
    Refuse,
    /// The expired CRL stays in use; certificates revoked since are accepted.
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

/// The settings of one service.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Its socket, if that is not `socket_dir/NAME.sock`.
    pub socket: Option<PathBuf>,
    /// The `Host` header of the request.
    pub host: String,
    /// The path of its metrics, which may have a query.
    pub path: String,
    /// The query parameters that a scraper may send.
    pub params: Vec<String>,
    /// The media type that the scraper gets instead of the service's.
    pub content_type: Option<String>,
    /// Whether an answer may end with the connection.
    pub close_delimited: bool,
    /// The user that must own the socket and answer on it.
    pub owner: Option<Owner>,
    /// Labels of its targets, for service discovery.
    pub labels: BTreeMap<String, String>,
    /// The maximum duration of a scrape, and its default if the scraper names none.
    pub timeout: Option<Duration>,
    /// Maximum size of its answer's body, in bytes.
    pub max_body: u64,
    /// Maximum number of concurrent scrapes.
    pub max_concurrent: usize,
}

impl ServiceSettings {
    /// The settings of a service that the configuration does not mention.
    #[must_use]
    pub fn defaults(limits: &Limits) -> Self {
        Self {
            socket: None,
            host: "localhost".to_owned(),
            path: Self::DEFAULT_PATH.to_owned(),
            params: Vec::new(),
            content_type: None,
            close_delimited: true,
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
    /// The minimum level that is written.
    pub level: LogLevel,
    /// Which scrapes have a line.
    pub scrapes: LoggedScrapes,
}

/// Which scrapes have a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoggedScrapes {
    /// Each scrape.
    #[default]
    All,
    /// Each failed scrape.
    Failed,
    /// No scrape.
    None,
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

/// The minimum level of log lines that are written.
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

/// Parses the file, with its syntax errors; nothing if there is no file.
fn parse(overrides: &Overrides) -> Result<(Section, Vec<ConfigError>), ConfigError> {
    let path = Config::file(overrides);
    let named = overrides.config.as_deref().and_then(Path::to_str);
    if named.is_some_and(pem::is_pasted) {
        let name = overrides.name("--config", "AEGIS_CONFIG");
        return Err(ConfigError::new(&Origin::Flag(name), "", pem::PASTED));
    }
    let origin = match &overrides.config {
        Some(_) => Origin::Flag(overrides.name("--config", "AEGIS_CONFIG")),
        // If it cannot be examined, it is read all the same, to report why.
        None if matches!(path.try_exists(), Ok(false)) => {
            return Ok((Section::empty(""), Vec::new()));
        }
        None => Origin::Unset,
    };
    parse_file(path, &origin)
}

fn parse_file(path: &Path, origin: &Origin) -> Result<(Section, Vec<ConfigError>), ConfigError> {
    let error = |problem: String| {
        let problem = format!("{} {problem}", path.display());
        ConfigError::new(origin, "", problem)
    };
    let bytes = read_bounded(path).map_err(|cause| error(format!("cannot be read: {cause}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| error("is not UTF-8, as a TOML file must be".to_owned()))?;
    // Before the parser sees it, which repeats parts of what it reads.
    if let Some(line) = pem::found_in(&text) {
        return Err(error(format!(
            "holds PEM in line {line}; name the right file, or move the PEM to a separate file"
        )));
    }
    Ok(Section::parse(path, &text))
}
