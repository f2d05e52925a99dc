//! What the command line and the environment say, over what the file says.

use std::path::PathBuf;

use super::fault::Fault;
use super::section::{Section, Value};
use crate::origin::Origin;

/// What the command line and the environment say, laid over the file.
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
}

impl Overrides {
    pub(super) fn lay_over(
        &self,
        written: &mut Section,
        faults: &mut Vec<Fault>,
        warnings: &mut Vec<String>,
    ) {
        set_list(written, "listen", "--listen", &self.listen);
        set_text(
            written,
            "socket_dir",
            "--socket-dir",
            self.socket_dir.as_ref(),
        );

        set_text(
            written,
            "admin_socket",
            "--admin-socket",
            self.admin_socket.as_ref(),
        );

        let mut tls = written.table("tls", faults);
        set_text(&mut tls, "cert_file", "--tls-cert", self.tls_cert.as_ref());
        set_text(&mut tls, "key_file", "--tls-key", self.tls_key.as_ref());
        set_text(
            &mut tls,
            "client_ca_file",
            "--client-ca",
            self.client_ca.as_ref(),
        );
        set_list(
            &mut tls,
            "client_crl_files",
            "--client-crl",
            &self.client_crl,
        );
        written.set("tls", "--tls-cert", Value::Table(tls));

        let mut log = written.table("log", faults);
        set_text(&mut log, "format", "--log-format", self.log_format.as_ref());
        set_text(&mut log, "level", "--log-level", self.log_level.as_ref());
        written.set("log", "--log-format", Value::Table(log));

        if self.allow_network.is_empty() && self.allow_identity.is_empty() {
            return;
        }
        // In place of the file's entries, not beside them: a flag that was meant to narrow
        // the policy must not widen it.
        if !written.tables("allow", faults).is_empty() {
            warnings.push("--allow-network and --allow-identity take the place of every [[allow]] entry of the file".to_owned());
        }
        let origin = Origin::Flag("--allow-network");
        let mut entry = Section::at("allow[0]", origin.clone());
        set_list(
            &mut entry,
            "networks",
            "--allow-network",
            &self.allow_network,
        );
        set_list(
            &mut entry,
            "identities",
            "--allow-identity",
            &self.allow_identity,
        );
        let every_service = vec!["*".to_owned()];
        set_list(&mut entry, "services", "--allow-network", &every_service);
        let entries = vec![(origin, Value::Table(entry))];
        written.set("allow", "--allow-network", Value::List(entries));
    }
}

fn set_text(section: &mut Section, key: &str, flag: &'static str, text: Option<&String>) {
    if let Some(text) = text {
        section.set(key, flag, Value::Text(text.clone()));
    }
}

fn set_list(section: &mut Section, key: &str, flag: &'static str, texts: &[String]) {
    if !texts.is_empty() {
        let items = texts
            .iter()
            .map(|text| (Origin::Flag(flag), Value::Text(text.clone())))
            .collect();
        section.set(key, flag, Value::List(items));
    }
}
