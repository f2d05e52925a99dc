//! The flags of the configuration, the same for every command. Each overrides the environment, the file and the default.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::{Overrides, Users};
use crate::text::escaped::discreet;
use crate::text::similar::most_similar;

/// The flags, and the environment variables that gave some of them.
#[derive(Debug)]
pub(super) struct Flags {
    given: Arguments,
    variables: BTreeSet<String>,
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let variables = variables(matches);
        let given = Arguments::from_arg_matches(matches)?;
        Ok(Self { given, variables })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.variables.extend(variables(matches));
        self.given.update_from_arg_matches(matches)
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        without_values(Arguments::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        without_values(Arguments::augment_args_for_update(command))
    }
}

/// `--help` shows the names of variables without their values: one could be a key.
fn without_values(command: Command) -> Command {
    command.mut_args(|argument| argument.hide_env_values(true))
}

/// The variables that gave a value; a flag overrides its variable.
fn variables(matches: &ArgMatches) -> BTreeSet<String> {
    let definition = Arguments::augment_args(Command::new(""));
    let arguments = definition.get_arguments();
    let from_environment = arguments.filter(|argument| {
        let source = matches.value_source(argument.get_id().as_str());
        source == Some(ValueSource::EnvVariable)
    });
    let names = from_environment.filter_map(|argument| argument.get_env()?.to_str());
    names.map(ToOwned::to_owned).collect()
}

/// Warnings about variables that look like ours and have no effect: a mistyped name would leave a
/// setting out in silence.
fn unknown_variables() -> Vec<String> {
    let definition = Arguments::augment_args(Command::new(""));
    let known = definition.get_arguments().filter_map(Arg::get_env);
    let known: Vec<&str> = known.filter_map(OsStr::to_str).collect();
    let given = env::vars_os().map(|(name, value)| {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        (text(name), text(value))
    });
    let unknown = given.filter(|(name, value)| {
        name.starts_with("AEGIS_")
            && !known.contains(&name.as_str())
            && !is_of_kubernetes(name, value)
    });
    let unknown = unknown.take(MAX_NAMED).map(|(name, _)| {
        let name = discreet(&name);
        match most_similar(&name, known.iter().copied()) {
            Some(meant) => {
                format!("{name}: unknown variable, without effect; did you mean {meant}?")
            }
            None => {
                format!("{name}: unknown variable, without effect; `aegis serve --help` lists them")
            }
        }
    });
    let mut unknown = Vec::from_iter(unknown);
    unknown.sort();
    unknown
}

/// More warnings would hide others.
const MAX_NAMED: usize = 10;

/// Whether Kubernetes sets a variable, for a service that is called aegis or aegis-SOMETHING, such
/// as `AEGIS_SERVICE_HOST` and `AEGIS_PORT_31337_TCP_ADDR`.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let is_link = value.contains("://");
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_link)
        || name.split_once("_PORT_").is_some_and(|(_, port)| {
            let mut words = port.split('_');
            let is_number = words
                .next()
                .is_some_and(|number| number.parse::<u16>().is_ok());
            is_number && matches!(words.next(), Some("TCP" | "UDP" | "SCTP"))
        })
}

/// Every list can be given by repeating the flag, or with commas between its items.
#[derive(Args, Debug)]
struct Arguments {
    /// Configuration file [default: /etc/aegis/aegis.toml, if it exists]
    #[arg(
        long,
        env = "AEGIS_CONFIG",
        value_name = "FILE",
        visible_alias = "config.file"
    )]
    config: Option<PathBuf>,

    #[arg(
        long,
        help = "Address and port to listen on, or systemd for the sockets of a .socket unit, repeatable [default: [::1]:31337 and 127.0.0.1:31337]", env = "AEGIS_LISTEN", value_name = "ADDR", value_delimiter = ',',
        visible_aliases = ["web.listen-address", "hostport"]
    )]
    listen: Vec<String>,

    /// Directory of the sockets; NAME.sock answers at /NAME [default: /run/aegis/services]
    #[arg(
        long,
        env = "AEGIS_SOCKET_DIR",
        value_name = "DIR",
        visible_alias = "sockdir"
    )]
    socket_dir: Option<String>,

    /// Certificate chain of this server, leaf first (PEM)
    #[arg(long, env = "AEGIS_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<String>,

    /// Private key of that certificate (PEM)
    #[arg(long, env = "AEGIS_TLS_KEY", value_name = "FILE")]
    tls_key: Option<String>,

    /// CA that client certificates must chain to (PEM)
    #[arg(long, env = "AEGIS_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<String>,

    /// CRL for client certificates (PEM or DER), repeatable
    #[arg(
        long,
        env = "AEGIS_CLIENT_CRL",
        value_name = "FILE",
        value_delimiter = ','
    )]
    client_crl: Vec<String>,

    /// Network that scrapers may come from, repeatable; with --allow-identity it makes one
    /// entry for all services, in place of the file's
    #[arg(
        long,
        env = "AEGIS_ALLOW_NETWORK",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    allow_network: Vec<String>,

    /// Name that scrapers must have, such as dns:prometheus.example.org, repeatable
    #[arg(
        long,
        env = "AEGIS_ALLOW_IDENTITY",
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    allow_identity: Vec<String>,

    /// Unix socket for admin requests in plain HTTP [default: none]
    #[arg(long, env = "AEGIS_ADMIN_SOCKET", value_name = "PATH")]
    admin_socket: Option<String>,

    /// Log format: text or json [default: text]
    #[arg(long, env = "AEGIS_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<String>,

    /// Minimum log level: error, warn, info or debug [default: info]
    #[arg(long, env = "AEGIS_LOG_LEVEL", value_name = "LEVEL")]
    log_level: Option<String>,
}

impl From<Flags> for Overrides {
    fn from(flags: Flags) -> Self {
        let Flags {
            given: flags,
            variables,
        } = flags;
        Self {
            variables,
            config: flags.config,
            listen: flags.listen,
            socket_dir: flags.socket_dir,
            tls_cert: flags.tls_cert,
            tls_key: flags.tls_key,
            client_ca: flags.client_ca,
            client_crl: flags.client_crl,
            allow_network: flags.allow_network,
            allow_identity: flags.allow_identity,
            admin_socket: flags.admin_socket,
            log_format: flags.log_format,
            log_level: flags.log_level,
            users: Users::default(),
            warnings: unknown_variables(),
        }
    }
}

/// Whether a command line is for the Go program of 2021. It had no commands, and Go's flags take one
/// dash or two; `-hostport` would be read as `-h` here.
pub(super) fn is_legacy_invocation(arguments: &[OsString]) -> bool {
    let after_its_name = arguments.iter().skip(1).enumerate();
    after_its_name
        .filter_map(|(index, argument)| Some((index, argument.to_str()?)))
        .any(|(index, argument)| {
            let flag = argument.split('=').next().unwrap_or_default();
            let is_first = index == 0;
            matches!(flag, "-hostport" | "-sockdir")
                || (is_first && matches!(flag, "--hostport" | "--sockdir"))
        })
}

pub(super) const LEGACY_FLAGS: &str = "-hostport ADDR is now --listen ADDR and -sockdir DIR is \
--socket-dir DIR, after `aegis serve`, which also needs certificates and an allow entry: see \
`aegis serve --help`";
