//! The test harness: each test has its own PKI, services, aegis process and scrapers.

pub mod admin_socket;
pub mod aegis;
#[path = "../../examples/demo/folder.rs"]
mod folder;
pub mod kernel;
pub mod mangled;
pub mod pki;
pub mod scraper;
pub mod service;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

pub use aegis::Aegis;
pub use pki::{Certified, Pki};
pub use scraper::{Answer, Connection, Scraper};
pub use service::Service;

/// How long a test waits for an expected event: much longer than it takes, even under load.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The name that the policy of [`World::start`] admits.
pub const PROMETHEUS: &str = "prometheus.example.org";

/// A host with aegis: a folder with certificates, a socket directory and a configuration.
pub struct World {
    pub folder: tempfile::TempDir,
    pub pki: Pki,
    pub settings: Settings,
}

/// The parts of the configuration that tests change.
pub struct Settings {
    pub listen: String,
    pub allow: String,
    /// Keys below `[tls]`, after the files.
    pub tls: String,
    pub limits: String,
    /// Keys at the top of the file.
    pub top: String,
    /// Tables at the end of the file.
    pub rest: String,
}

impl World {
    /// A world in which Prometheus, from this host, may scrape every service.
    pub fn new() -> Self {
        MASK.call_once(mask_write_permission);
        let folder = folder();
        std::fs::create_dir(folder.path().join("services")).unwrap();
        let pki = Pki::new();
        pki.server().write(folder.path(), "server");
        std::fs::write(folder.path().join("ca.pem"), pki.ca_pem()).unwrap();
        Self {
            folder,
            pki,
            settings: Settings {
                listen: r#"["127.0.0.1:0"]"#.to_owned(),
                allow: allow(
                    r#""127.0.0.1/32", "::1/128""#,
                    &format!(r#""dns:{PROMETHEUS}""#),
                    r#""*""#,
                ),
                tls: String::new(),
                limits: String::new(),
                top: String::new(),
                rest: String::new(),
            },
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self, service: &str) -> PathBuf {
        self.path("services").join(format!("{service}.sock"))
    }

    /// Writes the configuration and returns its path.
    pub fn write_config(&self) -> PathBuf {
        let Settings {
            listen,
            allow,
            tls,
            limits,
            top,
            rest,
        } = &self.settings;
        let text = format!(
            "listen = {listen}\nsocket_dir = \"services\"\n{top}\n[tls]\ncert_file = \"server.pem\"\nkey_file = \"server.key\"\nclient_ca_file = \"ca.pem\"\n{tls}\n{allow}\n[limits]\n{limits}\n{rest}\n"
        );
        let path = self.path("aegis.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts aegis and waits until it is ready.
    pub fn start(&self) -> Aegis {
        Aegis::start(&self.write_config(), &[])
    }

    /// As [`World::start`], but as an unprivileged user if the tester is root.
    pub fn start_without_privilege(&self) -> Aegis {
        let mut serve = self.command_without_privilege("serve");
        serve.args(["--log-level", "debug"]);
        Aegis::spawn(serve)
    }

    /// A subcommand with the configuration, for an unprivileged user if the tester is root.
    pub fn command_without_privilege(&self, subcommand: &str) -> Command {
        let config = self.write_config();
        let mut command = if rustix::process::geteuid().is_root() {
            self.command_as_unprivileged_user()
        } else {
            aegis::command()
        };
        command.args([subcommand, "--config"]).arg(config);
        command
    }

    /// The binary, for user 65534, which gets all files of this world.
    ///
    /// It is a copy in this world's folder, because other users may not be able to read the
    /// original.
    pub fn command_as_unprivileged_user(&self) -> Command {
        use std::os::unix::fs::chown;
        use std::os::unix::process::CommandExt as _;

        const UNPRIVILEGED: u32 = 65534;
        let program = self.path("aegis");
        // `cp` copies it: a child that another thread starts now would inherit our descriptor, and
        // a program that is open for writing cannot be run (ETXTBSY).
        let mut copy = Command::new("cp");
        copy.arg(aegis::binary()).arg(&program);
        assert!(copy.status().unwrap().success());
        let mut all = vec![self.folder.path().to_owned()];
        for folder in [self.folder.path(), &self.path("services")] {
            let entries = std::fs::read_dir(folder).unwrap();
            all.extend(entries.map(|entry| entry.unwrap().path()));
        }
        for path in all {
            chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        let mut command = aegis::command_of(program);
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        command
    }

    /// A service that answers every request with these bytes and hangs up.
    pub fn service(&self, name: &str, answer: impl Into<Vec<u8>>) -> Service {
        Service::answering(&self.socket(name), answer.into())
    }

    /// Makes sure that a service's socket belongs neither to root nor to `owner`, and gives the uid
    /// to which it belongs. As root, it changes the owner of the file.
    pub fn disown(&self, service: &str) -> u32 {
        const ANOTHER_USER: u32 = 4242;
        let me = rustix::process::geteuid();
        if me.is_root() {
            std::os::unix::fs::chown(self.socket(service), Some(ANOTHER_USER), None).unwrap();
            return ANOTHER_USER;
        }
        me.as_raw()
    }

    /// A scraper with the certificate that the policy admits.
    pub fn prometheus(&self, aegis: &Aegis) -> Scraper {
        self.scraper(aegis, Some(&self.pki.client()))
    }

    pub fn scraper(&self, aegis: &Aegis, certificate: Option<&Certified>) -> Scraper {
        Scraper::new(aegis.address(), &self.pki, certificate)
    }
}

static MASK: Once = Once::new();

/// Makes new files not writable by others, for any umask of the tester: aegis would warn about it.
fn mask_write_permission() {
    use rustix::fs::Mode;

    let mask = rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::umask(mask | Mode::from_raw_mode(0o022));
}

/// A temporary folder in which sockets can be bound.
pub fn folder() -> tempfile::TempDir {
    folder::temporary(&tempfile::Builder::new()).unwrap()
}

/// One `[[allow]]` entry.
pub fn allow(networks: &str, identities: &str, services: &str) -> String {
    format!(
        "[[allow]]\nnetworks = [{networks}]\nidentities = [{identities}]\nservices = [{services}]\n"
    )
}

/// A complete answer with a length.
pub fn answer(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The value of a series in aegis's own metrics.
pub fn metric(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|line| line.strip_prefix(' '))
        .and_then(|value| value.parse().ok())
}

/// Retries until a condition holds, for an effect in another process.
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            std::time::Instant::now() < deadline,
            "the condition never held"
        );
        std::thread::yield_now();
    }
}
