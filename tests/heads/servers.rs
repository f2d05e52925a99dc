//! The servers under test: aegis as a process of its own, and four others on Unix sockets. These answer
//! each request that they accept with 204, and repeat its method and target in a header.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::UnixListener;

use crate::{Outcome, folder, pki, services};

/// The servers that aegis is compared with, in the order of all tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Hyper,
    Go,
    Nginx,
    Haproxy,
}

pub const PEERS: [Peer; 4] = [Peer::Hyper, Peer::Go, Peer::Nginx, Peer::Haproxy];

/// All servers; dropping it ends them.
pub struct Servers {
    pub aegis: SocketAddr,
    pub tls: Arc<ClientConfig>,
    sockets: [PathBuf; 4],
    _processes: Vec<Process>,
    _folder: tempfile::TempDir,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Servers {
    pub fn start() -> Outcome<Self> {
        let folder = folder::temporary(&tempfile::Builder::new())?;
        let at = folder.path();
        let sockets = ["hyper", "go", "nginx", "haproxy"].map(|name| at.join(name));
        let mut processes = Vec::new();
        let (aegis, address) = aegis(at)?;
        processes.push(aegis);
        hyper(&sockets[0])?;
        processes.push(go(at, &sockets[1])?);
        processes.push(nginx(at)?);
        processes.push(haproxy(at)?);
        Ok(Self {
            aegis: address,
            tls: Arc::new(client(at)?),
            sockets,
            _processes: processes,
            _folder: folder,
        })
    }

    pub fn socket(&self, peer: Peer) -> &Path {
        &self.sockets[peer as usize]
    }
}

/// Starts the binary that `AEGIS_BINARY` names, or this program in its place.
fn aegis(at: &Path) -> Outcome<(Process, SocketAddr)> {
    pki::make(at)?;
    fs::create_dir(at.join("services"))?;
    services::start(&at.join("services"))?;
    let (cert, key, ca) = (pki::SERVER, pki::SERVER_KEY, pki::CA);
    let name = pki::SCRAPER_NAME;
    let config = format!(
        r#"
listen = ["127.0.0.1:0"]
socket_dir = "services"
[tls]
cert_file = "{cert}"
key_file = "{key}"
client_ca_file = "{ca}"
[[allow]]
networks = ["127.0.0.1/32"]
identities = ["dns:{name}"]
services = ["*"]
[services.node]
params = ["x", "x[]"]
[limits]
scrapes_per_service = 100
connection_rate = 100000
connection_burst = 100000
handshake_timeout = "1m"
"#
    );
    let file = at.join("aegis.toml");
    fs::write(&file, config)?;
    let mut command = match std::env::var_os("AEGIS_BINARY") {
        Some(binary) => child(Path::new(&binary)),
        None => {
            let mut command = child(&std::env::current_exe()?);
            command.arg("aegis");
            command
        }
    };
    command.args(["serve", "--config"]).arg(file).env_clear();
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let log = child.stderr.take().ok_or("no log")?;
    let process = Process(child);
    let mut log = BufReader::new(log);
    let mut lines = String::new();
    let address = loop {
        let start = lines.len();
        if log.read_line(&mut lines)? == 0 {
            return Err(format!("aegis did not start:\n{lines}").into());
        }
        let line = &lines[start..];
        if let Some((_, listen)) = line.split_once(" ready ").and(line.split_once("listen=\"")) {
            break listen.split('"').next().unwrap_or_default().parse()?;
        }
    };
    thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Ok((process, address))
}

/// A scraper that aegis admits.
fn client(at: &Path) -> Outcome<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(at.join(pki::CA))?)?;
    let chain = vec![CertificateDer::from_pem_file(at.join(pki::SCRAPER))?];
    let key = PrivateKeyDer::from_pem_file(at.join(pki::SCRAPER_KEY))?;
    let mut provider = aws_lc_rs::default_provider();
    // The fastest one: there is a handshake for each case.
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut tls = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    tls.resumption = Resumption::disabled();
    Ok(tls)
}

/// hyper's server with its defaults, in a thread.
fn hyper(socket: &Path) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _inside = runtime.enter();
        UnixListener::bind(socket)?
    };
    let answer = |request: Request<Incoming>| async move {
        let seen = format!("{} {}", request.method(), request.uri());
        // A broken body is not answered.
        request.into_body().collect().await?;
        let answer = Response::builder().status(StatusCode::NO_CONTENT);
        Ok(answer.header("seen", seen).body(Full::default()).unwrap())
    };
    thread::spawn(move || runtime.block_on(services::serve(listener, answer)));
    Ok(())
}

fn go(at: &Path, socket: &Path) -> Outcome<Process> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/heads/serve.go");
    let program = at.join("serve");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(source);
    build.env("GO111MODULE", "off").env("GOFLAGS", "");
    if !build.status()?.success() {
        return Err("go build".into());
    }
    start(child(&program).arg(socket))
}

/// nginx with its defaults, and room for the largest head that aegis accepts. It runs as one process.
fn nginx(at: &Path) -> Outcome<Process> {
    const TEMPORARY: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = TEMPORARY.map(|kind| format!("{kind}_temp_path temp;"));
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; events {{}}\n\
         http {{ access_log off; {} large_client_header_buffers 4 32k;\n\
         add_header Seen \"$request_method $request_uri\"; server {{ listen unix:{}/nginx; return 204; }} }}\n",
        temporary.concat(),
        at.display()
    );
    let file = at.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = child(Path::new("/usr/sbin/nginx"));
    command.arg("-p").arg(at).args(["-e", "/dev/null", "-c"]);
    start(command.arg(file))
}

/// HAProxy with its defaults, and room for the largest head that aegis accepts.
fn haproxy(at: &Path) -> Outcome<Process> {
    let config = format!(
        "global\n  tune.bufsize 65536\n\
         defaults\n  mode http\n  timeout client 1m\n  timeout server 1m\n  timeout connect 1m\n\
         frontend heads\n  bind unix@{}/haproxy\n\
         \x20 http-request wait-for-body time 1m\n  http-request return status 204 hdr Seen \"%[method] %[url]\"\n",
        at.display()
    );
    let file = at.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = child(Path::new("/usr/sbin/haproxy"));
    start(command.args(["-q", "-db", "-f"]).arg(file))
}

/// A program that ends with this one, even if this one is killed.
fn child(program: &Path) -> Command {
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn start(command: &mut Command) -> Outcome<Process> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    Ok(Process(
        child.map_err(|error| format!("{command:?}: {error}"))?,
    ))
}
