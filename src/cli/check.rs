//! `aegis check`: reports every error and warning without serving.

mod certificate;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::as_user::become_user;
use super::flags::Flags;
use super::{CONFIGURATION, print, report_error, usage_error};
use crate::admin;
use crate::config::{Config, ConfigError, Overrides, Sandbox};
use crate::server::privileges;
use crate::server::run::{self, ServeError};
use crate::server::sandbox::{self, Paths, Unsealed};
use crate::text::escaped::visible;
use crate::text::json::object;
use crate::text::origin::Origin;
use crate::tls::credentials::Parts;
use certificate::Certificate;

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    flags: Flags,

    /// Look as this user, which aegis will run as; needs root
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Read certificates, key and CRLs as root, because systemd hands them over (LoadCredential=)
    #[arg(long, requires = "user")]
    credentials_as_root: bool,

    /// Exit with 78 if there are warnings, too
    #[arg(long)]
    strict: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ReportFormat {
    /// For people; errors go to standard error
    Text,
    /// One JSON object on standard output
    Json,
}

/// Reads the credentials; `None` if the configuration is invalid, which the check itself reports.
fn read_parts(overrides: &Overrides) -> Option<Parts> {
    let config = Config::load(overrides).ok()?;
    Some(Parts::read(&config.tls))
}

/// The result of a check.
#[derive(Default)]
struct Report {
    faults: Vec<ConfigError>,
    warnings: Vec<String>,
    /// What is neither wrong nor risky, but may surprise; one sentence each.
    notes: Vec<String>,
    listen: Vec<String>,
    socket_dir: String,
    allow_entries: usize,
    services: usize,
    certificate: Option<Certificate>,
    /// The active layers of the sandbox.
    sandbox: Vec<&'static str>,
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        // As serve resolves them.
        let overrides = Overrides::from(self.flags).absolute();
        let handed_over = self.credentials_as_root.then(|| read_parts(&overrides));
        if let Some(Err(problem)) = self.user.as_deref().map(become_user) {
            return usage_error(&problem);
        }
        let report = Report::of(&overrides, handed_over.flatten());
        let is_good = report.faults.is_empty() && (!self.strict || report.warnings.is_empty());
        let code = if is_good {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(CONFIGURATION)
        };
        match self.format {
            ReportFormat::Text if !report.faults.is_empty() => {
                report_error(&ServeError::Configuration(report.faults))
            }
            ReportFormat::Text => print(&report.text(is_good), code),
            ReportFormat::Json => print(&report.json(is_good), code),
        }
    }
}

impl Report {
    /// Makes a report. The credentials are read here if they were not read before.
    fn of(overrides: &Overrides, handed_over: Option<Parts>) -> Self {
        let mut config = match run::load(overrides) {
            Ok(config) => config,
            Err(faults) => return Self::failed(faults),
        };
        let listen = config.listen.iter().map(|given| given.value.to_string());
        let listen: Vec<String> = listen.collect();
        let socket_dir = config.socket_dir.value.display().to_string();
        let file = Config::file(overrides);
        let (sandbox, paths) = (config.sandbox, Paths::of(&config, file));
        let ports = privileges::privileged_ports(&config.listen);
        let awaited = config
            .admin
            .as_ref()
            .and_then(admin::awaits_runtime_directory);
        let not_creatable = config.admin.as_ref().and_then(admin::not_creatable);
        // The unit creates its directory when it starts aegis.
        config.admin = config.admin.filter(|_| awaited.is_none());
        let parts = handed_over.unwrap_or_else(|| Parts::read(&config.tls));
        let certificate = parts.leaf().and_then(|leaf| Certificate::of(leaf));
        let notes = std::mem::take(&mut config.notes);
        match run::first_gate_with(&config, parts) {
            Err(faults) => Self::failed(faults),
            Ok(gate) => Self {
                // Before the warnings, which also look for sockets elsewhere.
                services: gate.services.present(),
                faults: Vec::new(),
                warnings: gate
                    .warnings()
                    .chain(ports)
                    .chain(awaited)
                    .chain(not_creatable)
                    .chain(gate.services.unavailable())
                    .collect(),
                notes,
                certificate,
                listen,
                socket_dir,
                allow_entries: gate.policy.entries().len(),
                sandbox: Vec::new(),
            }
            .behind(sandbox, &paths, file),
        }
    }

    /// Enters the sandbox of serve. Comes last: no file can be opened from there.
    fn behind(mut self, sandbox: Sandbox, paths: &Paths, file: &Path) -> Self {
        let enforcement = match sandbox::self_test(sandbox, paths) {
            Ok(enforcement) => enforcement,
            Err(Unsealed::Unmet(unmet)) => return Self::failed(run::unmet_sandbox(unmet, file)),
            Err(Unsealed::System(error)) => {
                let problem = format!("cannot be entered: {error}");
                return Self::failed(vec![ConfigError::new(
                    &Origin::Whole(file.into()),
                    "sandbox",
                    problem,
                )]);
            }
        };
        self.sandbox = enforcement.active().collect();
        let missing = enforcement.missing();
        match sandbox {
            Sandbox::Required => self.faults = run::unmet_sandbox(missing.collect(), file),
            Sandbox::BestEffort | Sandbox::UnsafeNone => self.warnings.extend(missing),
        }
        self
    }

    fn failed(faults: Vec<ConfigError>) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }

    fn text(&self, is_good: bool) -> String {
        let warnings = self.warnings.iter();
        let mut text: String = warnings
            .map(|warning| format!("warning: {}\n", visible(warning)))
            .collect();
        if !is_good {
            text.push_str("not ok: with --strict, warnings are errors\n");
            return text;
        }
        text.push_str(&format!(
            "ok: would listen on {}, with {} and {} in {}\n",
            self.listen.join(" "),
            counted(self.allow_entries, "allow entry", "allow entries"),
            counted(self.services, "socket", "sockets"),
            self.socket_dir
        ));
        let layers = match self.sandbox.as_slice() {
            [] => "none".to_owned(),
            layers => layers.join(" "),
        };
        text.push_str(&format!("sandbox: {layers}\n"));
        text.extend(self.certificate.as_ref().map(Certificate::text));
        let notes = self.notes().into_iter();
        text.extend(notes.map(|note| format!("note: {}\n", visible(&note))));
        text
    }

    fn notes(&self) -> Vec<String> {
        let as_root = privileges::is_root().then(|| privileges::root_looks("aegis check"));
        self.notes.iter().cloned().chain(as_root).collect()
    }

    fn json(&self, is_good: bool) -> String {
        let faults = self.faults.iter().map(|fault| {
            object(vec![
                ("at", fault.at().into()),
                ("key", fault.key().into()),
                ("problem", fault.problem().into()),
            ])
        });
        let report = object(vec![
            ("ok", is_good.into()),
            ("errors", faults.collect()),
            ("warnings", self.warnings.clone().into()),
            ("notes", self.notes().into()),
            ("listen", self.listen.clone().into()),
            ("socket_dir", self.socket_dir.clone().into()),
            ("allow_entries", self.allow_entries.into()),
            ("services", self.services.into()),
            (
                "certificate",
                self.certificate.as_ref().map(Certificate::json).into(),
            ),
            ("sandbox", self.sandbox.clone().into()),
        ]);
        format!("{report}\n")
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{count} {noun}")
}
