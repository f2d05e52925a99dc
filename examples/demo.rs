//! The one-command demo: `cargo run --example demo`.
//!
//! Makes certificates, starts a service on a Unix socket and aegis in front of it, scrapes
//! through it, and is refused three times. It checks what it shows; `--once` ends with that.

#[path = "demo/folder.rs"]
mod folder;
#[path = "demo/pki.rs"]
mod pki;
#[path = "demo/services.rs"]
mod services;
#[expect(
    dead_code,
    reason = "an example of its own too; the demo does not use its main"
)]
#[path = "printerfacts.rs"]
mod printerfacts;
#[path = "demo/child.rs"]
mod child;
#[path = "demo/scraper.rs"]
mod scraper;
#[path = "demo/terminal.rs"]
mod terminal;

use std::error::Error;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;

use child::Aegis;
use scraper::Scraper;
use services::{Services, Signals};
use terminal::{say, title};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<Option<&str>> = arguments.iter().map(|word| word.to_str()).collect();
    let shown = match words.as_slice() {
        [Some("aegis"), ..] => return child::main(arguments),
        [] => show(Mode::KeepRunning),
        [Some("--once")] => show(Mode::Once),
        [Some("-h" | "--help")] => say(HELP),
        _ => {
            drop(io::stderr().write_all(HELP.as_bytes()));
            return ExitCode::from(2);
        }
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "demo: {error}"));
            ExitCode::FAILURE
        }
    }
}

const HELP: &str = "\
Shows aegis at work, on this machine alone, and checks what it shows.

Usage: cargo run --example demo [-- --once]

It makes a temporary folder with a CA and two certificates, starts two services that listen
only on Unix sockets, and aegis in front of them. Then it scrapes one of them with the
client certificate, and is refused three times: without a certificate, with a path that
leads elsewhere, and at the service that is not granted. Nothing is installed, no other
program is needed, and the folder is removed at the end.

  --once  end after the scrape and the refusals, with exit code 0 if all was as expected;
          otherwise it stays up to be scraped, until Ctrl-C
  --help  print this
";

/// What the demo does after the scrape and the refusals.
enum Mode {
    /// Keep running after the refusals, to be scraped by hand.
    KeepRunning,
    /// End after the refusals.
    Once,
}

fn show(mode: Mode) -> Outcome {
    // First of all: from here on Ctrl-C leaves by the end of this function, folder and all.
    let (signals, runtime) = Signals::new()?;
    let folder = folder::temporary(
        tempfile::Builder::new()
            .prefix("aegis-demo-")
            .permissions(Permissions::from_mode(0o700)),
    )?;
    pki::make(folder.path())?;
    let (events, incoming) = mpsc::channel();
    let services = Services::start(folder.path(), runtime, signals, events.clone())?;
    title("aegis starts, with this configuration")?;
    let mut aegis = Aegis::start(folder.path(), events, incoming)?;
    scrape(folder.path(), &mut aegis)?;
    for case in REFUSALS {
        case.show(folder.path(), &mut aegis)?;
    }
    title("All was as expected")?;
    if matches!(mode, Mode::KeepRunning) {
        say(try_it(folder.path(), aegis.address))?;
        aegis.watch_until_stopped()?;
    }
    aegis.stop()?;
    drop(services);
    folder.close()?;
    say("The temporary folder is removed.\n")
}

fn scrape(folder: &Path, aegis: &mut Aegis) -> Outcome {
    title("A scrape: GET /printerfacts, with the certificate of prometheus.example.org")?;
    let scraper = Scraper::with_certificate(folder, aegis.address)?;
    let saw = scraper.get("/printerfacts");
    terminal::quote("scraper", &saw)?;
    let whole = saw.status == Some(200)
        && saw.text.contains("printer_pages_printed_total")
        && saw.text.ends_with("# EOF\n");
    if !whole {
        return Err("the scrape did not bring the metrics".into());
    }
    aegis.log_line(" scraped ")?;
    Ok(())
}

/// A scrape that must fail, in this way and for this reason.
struct Refused {
    title: &'static str,
    path: &'static str,
    certificate: Certificate,
    /// What the scraper must see: a status; or none, and a part of the TLS error.
    status: Option<u16>,
    text: &'static str,
    /// What aegis must log.
    stage: &'static str,
    reason: &'static str,
}

enum Certificate {
    Shown,
    Withheld,
}

const REFUSALS: [Refused; 3] = [
    Refused {
        title: "Refused: GET /printerfacts, without a certificate",
        path: "/printerfacts",
        certificate: Certificate::Withheld,
        status: None,
        text: "CertificateRequired",
        stage: "handshake",
        reason: "no_certificate",
    },
    Refused {
        title: "Refused: GET /../payroll, a path that leads elsewhere",
        path: "/../payroll",
        certificate: Certificate::Shown,
        status: Some(400),
        text: "ask for /NAME with GET",
        stage: "route",
        reason: "target",
    },
    Refused {
        title: "Refused: GET /payroll, a service that is there but not granted",
        path: "/payroll",
        certificate: Certificate::Shown,
        status: Some(404),
        text: "no such service",
        stage: "authorize",
        reason: "not_granted",
    },
];

impl Refused {
    fn show(&self, folder: &Path, aegis: &mut Aegis) -> Outcome {
        title(self.title)?;
        let scraper = match self.certificate {
            Certificate::Shown => Scraper::with_certificate(folder, aegis.address)?,
            Certificate::Withheld => Scraper::without_certificate(folder, aegis.address)?,
        };
        let saw = scraper.get(self.path);
        terminal::quote("scraper", &saw)?;
        let unexpected = || format!("not as expected: {}", self.title);
        if saw.status != self.status || !saw.text.contains(self.text) {
            return Err(unexpected().into());
        }
        let line = aegis.log_line(" refused: ")?;
        let (stage, reason) = (line.field("stage"), line.field("reason"));
        say(format!("reason  | {reason}, at stage {stage}\n"))?;
        if (stage, reason) != (self.stage, self.reason) {
            return Err(unexpected().into());
        }
        Ok(())
    }
}

fn try_it(folder: &Path, address: SocketAddr) -> String {
    let (ca, certificate, key) = (pki::CA, pki::SCRAPER, pki::SCRAPER_KEY);
    let [ca, certificate, key] = [ca, certificate, key].map(|name| folder.join(name));
    format!(
        "\
Scrape it yourself:

curl --cacert {ca:?} --cert {certificate:?} --key {key:?} https://{address}/printerfacts

or with Prometheus:

scrape_configs:
  - job_name: printerfacts
    scheme: https
    metrics_path: /printerfacts
    tls_config:
      ca_file: {ca:?}
      cert_file: {certificate:?}
      key_file: {key:?}
    static_configs:
      - targets: [\"{address}\"]

Ctrl-C ends it and removes {folder:?}. What aegis logs follows.
"
    )
}
