//! What documents, scripts and shipped files say is what aegis does.

use std::path::{Path, PathBuf};

use aegis::config::{Config, Limits, Overrides};
use aegis::refusal::{Refusal, SeenAs};

use crate::harness::aegis::run;
use crate::harness::{World, answer};

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
    let listen = |config: &Config| -> Vec<String> {
        let listen = config.listen.iter();
        listen.map(|given| given.value.to_string()).collect()
    };
    // What a configuration without the key gets, on a host with or without IPv6.
    assert_eq!(listen(&shipped), ["[::1]:31337", "127.0.0.1:31337"]);
    let mut world = World::new();
    world.settings.listen = "# none".to_owned();
    let config = std::fs::read_to_string(world.write_config()).unwrap();
    let config = config.replace("listen = # none\n", "");
    std::fs::write(world.path("aegis.toml"), config).unwrap();
    assert_eq!(listen(&load(world.path("aegis.toml"))), listen(&shipped));
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
    for file in [
        "hostile_bodies",
        "hostile_heads",
        "hostile_scrapers",
        "hostile_system",
        "hostile_memory",
    ] {
        let text = document(&format!("tests/it/{file}.rs"));
        for test in text.split("#[test]\nfn ").skip(1) {
            let test = format!("{file}::{}", test.split('(').next().unwrap());
            assert!(named.contains(&test), "{test} is not named");
        }
    }
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
