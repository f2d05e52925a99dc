//! `aegis check`: all that is wrong, and all that will hurt, without serving.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::flags::Flags;
use super::{CONFIGURATION, complain, say};
use crate::admin;
use crate::config::{Config, Fault, Overrides, Sandbox};
use crate::escaped::visible;
use crate::origin::Origin;
use crate::run::{self, Ended};
use crate::sandbox::{self, Paths};
use crate::view::object;

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    flags: Flags,

    /// Exit with 78 if there are warnings, too
    #[arg(long)]
    strict: bool,

    /// Form of the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people; what is wrong goes to standard error
    Text,
    /// One JSON object on standard output
    Json,
}

/// What was found.
#[derive(Default)]
struct Report {
    faults: Vec<Fault>,
    warnings: Vec<String>,
    listen: Vec<String>,
    socket_dir: String,
    allow_entries: usize,
    services: usize,
    /// The walls that stand.
    sandbox: Vec<&'static str>,
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        let report = Report::of(self.flags);
        let is_good = report.faults.is_empty() && (!self.strict || report.warnings.is_empty());
        let code = match is_good {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(CONFIGURATION),
        };
        match self.format {
            Format::Text if !report.faults.is_empty() => {
                complain(&Ended::Configuration(report.faults))
            }
            Format::Text => say(&report.text(is_good), code),
            Format::Json => say(&report.json(is_good), code),
        }
    }
}

impl Report {
    fn of(flags: Flags) -> Self {
        // As serve names them.
        let overrides = Overrides::from(flags).absolute();
        let mut config = match run::load(&overrides) {
            Ok(config) => config,
            Err(faults) => return Self::failed(faults),
        };
        let listen = config.listen.iter().map(|given| given.value.to_string());
        let listen: Vec<String> = listen.collect();
        let socket_dir = config.socket_dir.value.display().to_string();
        let file = Config::file(&overrides);
        let (sandbox, paths) = (config.sandbox, Paths::of(&config, file));
        let awaited = config.admin.as_ref().and_then(admin::awaits_its_unit);
        // It is there once aegis is started by its unit: not as it is here.
        config.admin = config.admin.filter(|_| awaited.is_none());
        match run::first_gate(config) {
            Err(faults) => Self::failed(faults),
            Ok(gate) => Self {
                faults: Vec::new(),
                warnings: gate.warnings().chain(awaited).collect(),
                listen,
                socket_dir,
                allow_entries: gate.policy.entries().len(),
                services: gate.upstream.present(),
                sandbox: Vec::new(),
            }
            .behind(sandbox, &paths, file),
        }
    }

    /// Goes behind the walls of serve, after all else: nothing more can be opened from there.
    fn behind(mut self, sandbox: Sandbox, paths: &Paths, file: &Path) -> Self {
        let (missing, standing) = match sandbox::try_out(sandbox, paths) {
            Ok(walls) => (walls.missing().collect(), walls.standing().collect()),
            Err(error) => (vec![error.to_string()], Vec::new()),
        };
        self.sandbox = standing;
        match sandbox {
            Sandbox::Required => {
                let origin = Origin::Whole(file.into());
                let fault = |missing| Fault::new(&origin, "sandbox", missing);
                self.faults = missing.into_iter().map(fault).collect();
            }
            Sandbox::BestEffort | Sandbox::UnsafeNone => self.warnings.extend(missing),
        }
        self
    }

    fn failed(faults: Vec<Fault>) -> Self {
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
            "ok: would listen on {}, with {} allow entries and {} sockets in {}\n",
            self.listen.join(" "),
            self.allow_entries,
            self.services,
            self.socket_dir
        ));
        let walls = match self.sandbox.as_slice() {
            [] => "none".to_owned(),
            walls => walls.join(" "),
        };
        text.push_str(&format!("sandbox: {walls}\n"));
        text
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
            ("listen", self.listen.clone().into()),
            ("socket_dir", self.socket_dir.clone().into()),
            ("allow_entries", self.allow_entries.into()),
            ("services", self.services.into()),
            ("sandbox", self.sandbox.clone().into()),
        ]);
        format!("{report}\n")
    }
}
