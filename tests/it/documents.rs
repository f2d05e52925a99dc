//! What documents, scripts and shipped files say is what aegis does.

use std::path::{Path, PathBuf};
use std::process::Command;

use aegis::config::{Config, Limits, Overrides};
use aegis::identity::Identity;
use aegis::refusal::{Refusal, SeenAs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::harness::aegis::{command, run};
use crate::harness::{Aegis, Scraper, World, answer, not_tested};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

fn load(path: PathBuf) -> Config {
    let overrides = Overrides {
        config: Some(path),
        ..Overrides::default()
    };
    Config::load(&overrides).unwrap_or_else(|faults| {
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{}", said.join("\n"))
    })
}

#[test]
fn the_shipped_configuration_loads_and_its_limits_are_the_defaults() {
    let shipped = load(root().join("deploy/aegis.toml"));
    let defaults = Limits::default();
    assert_eq!(format!("{:?}", shipped.limits), format!("{defaults:?}"));
    assert_eq!(shipped.listen[0].value.to_string(), "[::1]:31337");
    assert_eq!(shipped.socket_dir.value, Path::new("/run/aegis/services"));
    assert_eq!(
        format!("{:?}", shipped.log),
        format!("{:?}", aegis::config::Log::default())
    );
}

#[test]
fn what_is_commented_out_in_the_shipped_configuration_loads_too() {
    let text: String = document("deploy/aegis.toml")
        .lines()
        .map(|line| {
            let commented = line.strip_prefix("# ").filter(|rest| {
                rest.starts_with("[services") || rest.split(' ').nth(1) == Some("=")
            });
            format!("{}\n", commented.unwrap_or(line))
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aegis.toml");
    std::fs::write(&path, text).unwrap();
    let config = load(path);
    let node = &config.services[&"node".parse().unwrap()];
    assert_eq!(
        (node.params.len(), node.owner, node.max_concurrent),
        (1, Some(0), 2)
    );
    assert_eq!((node.path.as_str(), node.max_body), ("/metrics", 64 << 20));
}

#[test]
fn no_key_is_missing_in_the_shipped_configuration() {
    let world = World::new();
    let path = world.path("unknown.toml");
    let text = "x = 1\n[tls]\nx = 1\n[[allow]]\nx = 1\n[services.a]\nx = 1\n[limits]\nx = 1\n[log]\nx = 1\n";
    std::fs::write(&path, text).unwrap();
    let output = run(&["check", "--config", path.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    let lists = said
        .lines()
        .filter_map(|line| line.split_once("the keys here are "));
    let lists: Vec<&str> = lists.map(|(_, list)| list).collect();
    assert_eq!(lists.len(), 6, "{said}");
    let shipped = document("deploy/aegis.toml");
    for key in lists.iter().flat_map(|list| list.split(", ")) {
        let there = shipped.lines().any(|line| {
            let line = line.trim_start_matches("# ").trim_matches(['[', ']']);
            line == key
                || line.starts_with(&format!("{key} = "))
                || line.starts_with(&format!("{key}."))
        });
        assert!(there, "{key} is not in deploy/aegis.toml");
    }
}

#[test]
fn the_readme_shows_the_shipped_configuration() {
    let shipped = document("deploy/aegis.toml");
    assert!(document("README.md").contains(&format!("```toml\n{shipped}```\n")));
}

#[test]
fn the_readme_shows_the_shipped_scrape_job() {
    let shipped = document("deploy/prometheus/prometheus.yml");
    let (_, job) = shipped.split_once("scrape_configs:").unwrap();
    assert!(document("README.md").contains(&format!("```yaml\nscrape_configs:{job}```\n")));
}

#[test]
fn the_readme_lists_every_refusal_as_it_is() {
    let rows: String = Refusal::ALL
        .iter()
        .map(|refusal| {
            let seen = match refusal.seen_as() {
                SeenAs::Closed => "closed".to_owned(),
                SeenAs::Status(status) => status.to_string(),
            };
            let (stage, reason) = (refusal.stage().name(), refusal.reason());
            format!("| {stage} | `{reason}` | {refusal} | {seen} |\n")
        })
        .collect();
    let readme = document("README.md");
    assert!(readme.contains(&rows), "the table should be:\n{rows}");
}

#[test]
fn the_readme_names_every_flag_and_every_metric() {
    let readme = document("README.md");
    let commands = ["serve", "check", "explain", "services", "health", "sandbox"];
    let help = commands.map(|command| run(&[command, "--help"]).stdout);
    let help = String::from_utf8(help.concat()).unwrap();
    let flags = help
        .split_whitespace()
        .filter(|word| word.starts_with("--"));
    for flag in flags
        .map(|word| word.trim_end_matches([',', ';', ']']))
        .filter(|flag| *flag != "--help")
    {
        assert!(readme.contains(flag), "{flag}");
    }
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    scraper.get("/node");
    let own = scraper.get("/metrics").text();
    for metric in own.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = metric.split(' ').next().unwrap();
        assert!(readme.contains(&format!("`{name}")), "{name}");
    }
}

#[test]
fn documents_name_only_files_that_are_there() {
    let documents = documents_beneath(root());
    assert!(documents.len() > 20, "{documents:?}");
    for name in documents {
        let text = std::fs::read_to_string(&name).unwrap();
        let folder = name.parent().unwrap();
        let links = text.split("](").skip(1);
        let links = links.filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap();
            let is_there = folder.join(file).exists();
            assert!(is_there, "{} links to {link}", name.display());
        }
    }
}

/// Every document of the project; not of what is built, which may lie in the same folder.
fn documents_beneath(folder: &Path) -> Vec<PathBuf> {
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !path.is_symlink() && !name.starts_with('.') && name != "target" {
            documents.extend(documents_beneath(&path));
        } else if name.ends_with(".md") {
            documents.push(path);
        }
    }
    documents
}

/// The last column of each row of the security model's tables: what shows that it is so.
fn evidence() -> Vec<(String, Vec<String>)> {
    let text = document("docs/security.md");
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let rows = rows.filter(|line| !line.starts_with("| threat |"));
    let split = rows.map(|row| {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let shown = shown.split('`').filter(|part| !part.trim().is_empty());
        (row.to_owned(), shown.map(str::to_owned).collect())
    });
    split.collect()
}

#[test]
fn every_threat_of_the_security_model_names_what_shows_it_and_all_of_that_exists() {
    let rows = evidence();
    assert!(rows.len() > 40, "{} rows", rows.len());
    for (row, shown) in &rows {
        assert!(!shown.is_empty(), "nothing shows {row}");
        for name in shown {
            let Some((file, test)) = name.rsplit_once("::") else {
                assert!(root().join(name).exists(), "there is no {name}");
                continue;
            };
            let file = match file.ends_with(".rs") {
                true => file.to_owned(),
                false => format!("tests/it/{file}.rs"),
            };
            let is_there = document(&file).contains(&format!("fn {test}("));
            assert!(is_there, "there is no {test} in {file}");
        }
    }
}

#[test]
fn every_test_of_hostile_peers_stands_in_the_security_model() {
    let named: Vec<String> = evidence()
        .into_iter()
        .flat_map(|(_, shown)| shown)
        .collect();
    for file in ["hostile_bodies", "hostile_scrapers", "hostile_system"] {
        let text = document(&format!("tests/it/{file}.rs"));
        for test in text.split("#[test]\nfn ").skip(1) {
            let test = format!("{file}::{}", test.split('(').next().unwrap());
            assert!(named.contains(&test), "{test} is not named");
        }
    }
}

/// Whether the script can run. It is the one thing here that needs more than a Rust toolchain.
fn has_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok();
    if !found {
        not_tested("there is no openssl on this machine");
    }
    found
}

fn generate(folder: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new("sh")
        .arg(root().join("certs/generate.sh"))
        .args(arguments)
        .arg("--dir")
        .arg(folder)
        .output()
        .unwrap()
}

fn generated(folder: &Path, arguments: &[&str]) -> String {
    let output = generate(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_certificates_of_the_script_are_those_that_aegis_and_openssl_take() {
    use std::os::unix::fs::PermissionsExt as _;
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let pki = world.path("a pki");
    let said = generated(&pki, &["init"]);
    for (leaf, purpose) in [("server.pem", "sslserver"), ("prometheus.pem", "sslclient")] {
        let verified = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
            .args([pki.join("ca.pem"), pki.join(leaf)])
            .output();
        let verified = verified.unwrap();
        assert!(
            verified.status.success(),
            "{}",
            String::from_utf8_lossy(&verified.stderr)
        );
    }
    for key in ["ca.key", "server.key", "prometheus.key"] {
        let mode = std::fs::metadata(pki.join(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }

    // The command that it prints is one that starts.
    let (_, after) = said.split_once("aegis serve \\\n").unwrap();
    let flags = after.split("\n\n").next().unwrap().replace("\\\n", " ");
    let flags = flags.replace(
        "/run/aegis/services",
        world.path("services").to_str().unwrap(),
    );
    let aegis = env!("CARGO_BIN_EXE_aegis");
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        &format!("exec '{aegis}' serve --listen '[::1]:0' {flags}"),
    ]);
    let aegis = Aegis::spawn(shell);
    let prometheus = Scraper::from_files(aegis.address(), &pki, "prometheus");
    assert_eq!(prometheus.get("/node").text(), "up 1\n");
}

#[test]
fn the_script_overwrites_nothing_unless_it_is_told_to() {
    if !has_openssl() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pki = folder.path().join("pki");
    generated(&pki, &["init"]);
    let before = std::fs::read(pki.join("ca.pem")).unwrap();
    let again = generate(&pki, &["init"]);
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(
        said.contains("ca.pem exists and is left as it is; give --force"),
        "{said}"
    );
    assert_eq!(std::fs::read(pki.join("ca.pem")).unwrap(), before);
    generated(&pki, &["init", "--force"]);
    assert_ne!(std::fs::read(pki.join("ca.pem")).unwrap(), before);
}

#[test]
fn what_the_script_revokes_aegis_refuses() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let pki = world.path("pki");
    for arguments in [
        &["init"][..],
        &["client", "leaver"],
        &["revoke", "leaver"],
        &["crl"],
    ] {
        generated(&pki, arguments);
    }
    let mut serve = command();
    serve.args(["serve", "--log-level", "debug", "--listen", "127.0.0.1:0"]);
    for (flag, file) in [
        ("--tls-cert", "server.pem"),
        ("--tls-key", "server.key"),
        ("--client-ca", "ca.pem"),
        ("--client-crl", "crl.pem"),
    ] {
        serve.arg(flag).arg(pki.join(file));
    }
    serve.arg("--socket-dir").arg(world.path("services"));
    serve.args(["--allow-network", "127.0.0.1", "--allow-identity", "*"]);
    let aegis = Aegis::spawn(serve);
    let scraper = |name| Scraper::from_files(aegis.address(), &pki, name);
    assert_eq!(scraper("prometheus").get("/node").status, 404);
    assert!(scraper("leaver").try_get("/node").is_err());
    aegis.refused("handshake", "revoked");
}

#[test]
fn the_documented_command_gives_the_pin_of_a_key() {
    if !has_openssl() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pki = folder.path().join("pki");
    generated(&pki, &["init"]);
    let text = document("docs/certificates.md");
    let command = text
        .split("```")
        .find_map(|block| block.strip_prefix("sh\n"));
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command.unwrap()).current_dir(&pki);
    let pin = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    let leaf = CertificateDer::from_pem_file(pki.join("prometheus.pem")).unwrap();
    let identity = Identity::from_leaf(&leaf).unwrap();
    assert_eq!(
        identity.key().to_string(),
        format!("spki:sha256/{}", pin.trim())
    );
}

#[test]
fn the_readme_quotes_the_figures_of_the_measurement() {
    let measured = document("docs/performance.md");
    let readme = document("README.md");
    let section = readme.split("## Performance\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let words = section.split(|c: char| !c.is_ascii_digit() && c != '.');
    let is_ratio =
        |word: &&str| matches!(word.split_once('.'), Some((_, after)) if after.len() == 2);
    let ratios: Vec<&str> = words.filter(is_ratio).collect();
    assert_eq!(ratios.len(), 5, "{ratios:?}");
    for ratio in ratios {
        assert!(measured.contains(&format!(" {ratio} |")), "{ratio}");
    }
}
