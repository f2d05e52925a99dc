//! Settings of the command line and the environment, which override the file.

use std::collections::BTreeSet;
use std::path::{self, PathBuf};

use super::owner::Users;
use super::reader::Reader;
use super::section::{Section, Value};
use crate::text::origin::Origin;
use crate::text::pem;

/// Settings of the command line and the environment.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Vec<String>,
    /// `--socket-dir`
    pub socket_dir: Option<String>,
    /// `--tls-cert`
    pub tls_cert: Option<String>,
    /// `--tls-key`
    pub tls_key: Option<String>,
    /// `--client-ca`
    pub client_ca: Option<String>,
    /// `--client-crl`
    pub client_crl: Vec<String>,
    /// `--allow-network`
    pub allow_network: Vec<String>,
    /// `--allow-identity`
    pub allow_identity: Vec<String>,
    /// `--admin-socket`
    pub admin_socket: Option<String>,
    /// `--log-format`
    pub log_format: Option<String>,
    /// `--log-level`
    pub log_level: Option<String>,
    /// The environment variables that any of these come from, such as `AEGIS_LOG_LEVEL`.
    pub variables: BTreeSet<String>,
    /// Warnings about the environment; one sentence each.
    pub warnings: Vec<String>,
    /// The users that `owner` may name; remembered while the process runs.
    pub users: Users,
}

impl Overrides {
    /// The same with absolute paths, because serve changes its working directory. A path stays as
    /// it is if the directory is unknown, or if it is PEM and not a path.
    #[must_use]
    pub(crate) fn absolute(self) -> Self {
        let absolute = |path: String| match path::absolute(&path).map(PathBuf::into_os_string) {
            Ok(absolute) if !pem::is_pasted(&path) => absolute.into_string().unwrap_or(path),
            // An empty one, for example; it is reported with the other errors.
            Ok(_) | Err(_) => path,
        };
        let config = self.config.map(|path| match path::absolute(&path) {
            Ok(absolute) if !path.to_str().is_some_and(pem::is_pasted) => absolute,
            Ok(_) | Err(_) => path,
        });
        Self {
            config,
            socket_dir: self.socket_dir.map(absolute),
            tls_cert: self.tls_cert.map(absolute),
            tls_key: self.tls_key.map(absolute),
            client_ca: self.client_ca.map(absolute),
            client_crl: self.client_crl.into_iter().map(absolute).collect(),
            admin_socket: self.admin_socket.map(absolute),
            ..self
        }
    }

    /// Sets the keys that the command line and the environment give. Returns a sentence for each key
    /// of the file that has no effect because of that.
    pub(super) fn apply(&self, root: &mut Reader<'_>) -> Vec<String> {
        let mut notes = Vec::new();
        root.warnings.extend(self.warnings.iter().cloned());
        let section = &mut root.section;
        let name = self.name("--listen", "AEGIS_LISTEN");
        notes.extend(set_list(section, "listen", name, &self.listen));
        let name = self.name("--socket-dir", "AEGIS_SOCKET_DIR");
        notes.extend(set_text(
            section,
            "socket_dir",
            name,
            self.socket_dir.as_ref(),
        ));
        let name = self.name("--admin-socket", "AEGIS_ADMIN_SOCKET");
        notes.extend(set_text(
            section,
            "admin_socket",
            name,
            self.admin_socket.as_ref(),
        ));

        let mut tls = root.section("tls");
        let name = self.name("--tls-cert", "AEGIS_TLS_CERT");
        notes.extend(set_text(
            &mut tls,
            "cert_file",
            name,
            self.tls_cert.as_ref(),
        ));
        let name = self.name("--tls-key", "AEGIS_TLS_KEY");
        notes.extend(set_text(&mut tls, "key_file", name, self.tls_key.as_ref()));
        let name = self.name("--client-ca", "AEGIS_CLIENT_CA");
        notes.extend(set_text(
            &mut tls,
            "client_ca_file",
            name,
            self.client_ca.as_ref(),
        ));
        let name = self.name("--client-crl", "AEGIS_CLIENT_CRL");
        notes.extend(set_list(
            &mut tls,
            "client_crl_files",
            name,
            &self.client_crl,
        ));
        root.section.set("tls", "--tls-cert", Value::Table(tls));

        let mut log = root.section("log");
        let name = self.name("--log-format", "AEGIS_LOG_FORMAT");
        notes.extend(set_text(&mut log, "format", name, self.log_format.as_ref()));
        let name = self.name("--log-level", "AEGIS_LOG_LEVEL");
        notes.extend(set_text(&mut log, "level", name, self.log_level.as_ref()));
        root.section.set("log", "--log-format", Value::Table(log));

        self.apply_policy(root);
        notes
    }

    fn apply_policy(&self, root: &mut Reader<'_>) {
        if self.allow_network.is_empty() && self.allow_identity.is_empty() {
            return;
        }
        // In place of the file's entries, not in addition: a flag that is meant to narrow the
        // policy must not widen it.
        if root.tables("allow").iter().any(Result::is_ok) {
            root.warnings.push(
                "--allow-network and --allow-identity replace every [[allow]] entry of the file"
                    .to_owned(),
            );
        }
        let network = self.name("--allow-network", "AEGIS_ALLOW_NETWORK");
        let identity = self.name("--allow-identity", "AEGIS_ALLOW_IDENTITY");
        let origin = Origin::Flag(network);
        let mut entry = Section::at("allow[0]", origin.clone());
        set_list(&mut entry, "networks", network, &self.allow_network);
        set_list(&mut entry, "identities", identity, &self.allow_identity);
        let every_service = vec!["*".to_owned()];
        set_list(&mut entry, "services", network, &every_service);
        let entries = vec![(origin, Value::Table(entry))];
        root.section.set("allow", network, Value::List(entries));
    }

    /// The source of a setting: its flag, or its variable.
    pub(super) fn name(&self, flag: &'static str, variable: &'static str) -> &'static str {
        if self.variables.contains(variable) {
            variable
        } else {
            flag
        }
    }
}

/// Sets a key; returns a sentence if the file sets it, too.
fn set_text(
    section: &mut Section,
    key: &str,
    flag: &'static str,
    text: Option<&String>,
) -> Option<String> {
    set(section, key, flag, Value::Text(text?.clone()))
}

/// The same for a list.
fn set_list(
    section: &mut Section,
    key: &str,
    flag: &'static str,
    texts: &[String],
) -> Option<String> {
    if texts.is_empty() {
        return None;
    }
    let items = texts
        .iter()
        .map(|text| (Origin::Flag(flag), Value::Text(text.clone())));
    set(section, key, flag, Value::List(items.collect()))
}

fn set(section: &mut Section, key: &str, flag: &'static str, value: Value) -> Option<String> {
    let replaced = section.set(key, flag, value)?;
    let key = section.key(key);
    Some(format!(
        "{key} in {replaced} has no effect: {flag} replaces it"
    ))
}
