//! The verdicts of aegis, OpenSSL, GnuTLS and Go on a PKI.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aegis::config::{Config, Overrides};
use aegis::gate::Gate;
use aegis::policy::peer::Peer;
use aegis::scrape::{Shows, explain};
use data_encoding::BASE64;
use serde_json::json;

use crate::generate::Case;
use crate::handshakes;
use crate::keys::Key;

pub type Verdict = Result<(), String>;

/// A folder with the files that aegis needs, for one judge at a time.
pub struct Bench {
    folder: PathBuf,
}

impl Bench {
    pub fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(folder.join("services")).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let server = params.self_signed(&key).unwrap();
        fs::write(folder.join("server.pem"), server.pem()).unwrap();
        fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
        let config = r#"
listen = ["127.0.0.1:0"]
socket_dir = "services"
[tls]
cert_file = "server.pem"
key_file = "server.key"
client_ca_file = "roots.pem"
[[allow]]
networks = ["127.0.0.1"]
identities = ["*"]
services = ["*"]
"#;
        fs::write(folder.join("aegis.toml"), config).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes the files of the case, for aegis, OpenSSL and GnuTLS.
    pub fn set(&self, case: &Case) {
        fs::write(self.file("roots.pem"), pem("CERTIFICATE", &case.roots)).unwrap();
        fs::write(self.file("chain.pem"), pem("CERTIFICATE", &case.chain)).unwrap();
        fs::write(self.file("leaf.pem"), pem("CERTIFICATE", &case.chain[..1])).unwrap();
        fs::write(self.file("above.pem"), pem("CERTIFICATE", &case.chain[1..])).unwrap();
        fs::write(self.file("crls.pem"), pem("X509 CRL", &case.crls)).unwrap();
    }

    /// Judges the files as `aegis explain` does.
    pub fn aegis(&self, case: &Case) -> Verdict {
        let mut overrides = Overrides {
            config: Some(self.file("aegis.toml")),
            ..Overrides::default()
        };
        if !case.crls.is_empty() {
            let crls = self.file("crls.pem").to_str().unwrap().to_owned();
            overrides.client_crl = vec![crls];
        }
        let gate = Config::load(&overrides).and_then(|config| Gate::build(config, None));
        let gate = gate.map_err(|faults| {
            let faults = faults.iter().map(|fault| fault.problem().to_owned());
            format!("load: {}", faults.collect::<Vec<_>>().join("; "))
        })?;
        let peer = Peer::new(SocketAddr::from(([127, 0, 0, 1], 1)));
        let chain = case.chain.iter().map(|der| der.clone().into()).collect();
        let explained = explain(&gate, peer, Shows::Chain(chain), &"node".parse().unwrap());
        explained.decided.map(drop).map_err(|refused| {
            let detail = refused.detail.unwrap_or_default();
            format!("{}: {detail}", refused.refusal.reason())
        })
    }

    /// Judges by a handshake with the running binary; `None` if TLS cannot use the leaf's key.
    pub fn handshake(&self, case: &Case, keys: &[Key]) -> Option<Verdict> {
        handshakes::verdict(&self.folder, case, &keys[case.key])
    }

    /// With the strictest options. An intermediate CA may be a trust anchor.
    pub fn openssl(&self, case: &Case) -> Verdict {
        let mut command = Command::new("openssl");
        command.current_dir(&self.folder).args([
            "verify",
            "-no-CApath",
            "-no-CAstore",
            "-purpose",
            "sslclient",
            "-x509_strict",
            "-partial_chain",
            "-CAfile",
            "roots.pem",
        ]);
        if case.chain.len() > 1 {
            command.args(["-untrusted", "above.pem"]);
        }
        if !case.crls.is_empty() {
            command.args(["-crl_check_all", "-CRLfile", "crls.pem"]);
        }
        let output = command.arg("leaf.pem").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => Ok(()),
            false => Err(stderr.lines().collect::<Vec<_>>().join(" ")),
        }
    }

    /// The profile is that of GnuTLS's own TLS, for keys and digests.
    pub fn gnutls(&self, case: &Case) -> Verdict {
        let mut command = Command::new("certtool");
        command.current_dir(&self.folder).args([
            "--verify",
            "--verify-profile",
            "low",
            "--verify-purpose",
            "1.3.6.1.5.5.7.3.2",
            "--load-ca-certificate",
            "roots.pem",
            "--infile",
            "chain.pem",
        ]);
        if !case.crls.is_empty() {
            command.args(["--load-crl", "crls.pem"]);
        }
        let output = command.env("LC_ALL", "C").output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        let stdout = String::from_utf8_lossy(&output.stdout);
        let verdict = stdout.split_once("Chain verification output: ");
        let verdict = verdict.map(|(_, verdict)| verdict.replace(NOT_VERIFIED, ""));
        let stderr = || String::from_utf8_lossy(&output.stderr).into_owned();
        let verdict = verdict.unwrap_or_else(stderr);
        Err(verdict.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

const NOT_VERIFIED: &str = "Not verified. The certificate is NOT trusted. ";

fn pem(label: &str, all: &[Vec<u8>]) -> String {
    let each = all.iter().map(|der| {
        let text = BASE64.encode(der);
        let lines: Vec<&str> = (0..text.len())
            .step_by(64)
            .map(|at| &text[at..text.len().min(at + 64)])
            .collect();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        )
    });
    each.collect()
}

/// Lets Go judge all cases at once.
pub fn go(cases: &[Case], folder: &Path) -> Vec<Verdict> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pki/judge.go");
    let judge = folder.join("judge");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&judge).arg(source);
    build.env("GO111MODULE", "off").env("GOFLAGS", "");
    assert!(build.status().unwrap().success(), "go build");
    let encode = |all: &[Vec<u8>]| all.iter().map(|der| BASE64.encode(der)).collect::<Vec<_>>();
    let lines = cases.iter().map(|case| {
        let case = json!({
            "Roots": encode(&case.roots),
            "Chain": encode(&case.chain),
            "Crls": encode(&case.crls),
        });
        format!("{case}\n")
    });
    let asked = folder.join("cases.json");
    fs::File::create(&asked)
        .unwrap()
        .write_all(lines.collect::<String>().as_bytes())
        .unwrap();
    let mut command = Command::new(judge);
    command.stdin(fs::File::open(asked).unwrap());
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the judge in Go");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let verdicts: Vec<Verdict> = stdout
        .lines()
        .map(|line| {
            let error: String = serde_json::from_str(line).unwrap();
            if error.is_empty() { Ok(()) } else { Err(error) }
        })
        .collect();
    assert_eq!(verdicts.len(), cases.len());
    verdicts
}
