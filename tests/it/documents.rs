//! Documents, scripts and shipped files agree with aegis.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aegis::config::{Config, Limits, Overrides, Owner};
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
        let errors: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{}", errors.join("\n"))
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
    // The default of `listen`, on a host with or without IPv6.
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
fn commented_examples_in_the_shipped_configuration_load() {
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
        (1, Some(Owner::User(33)), 2)
    );
    assert_eq!((node.path.as_str(), node.max_body), ("/metrics", 64 << 20));
}

#[test]
fn the_shipped_configuration_has_every_key() {
    let world = World::new();
    let path = world.path("unknown.toml");
    let text = "x = 1\n[tls]\nx = 1\n[[allow]]\nx = 1\n[services.a]\nx = 1\n[limits]\nx = 1\n[log]\nx = 1\n";
    std::fs::write(&path, text).unwrap();
    let output = run(&["check", "--config", path.to_str().unwrap()]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lists = stderr
        .lines()
        .filter_map(|line| line.split_once("the keys here are "));
    let lists: Vec<&str> = lists.map(|(_, list)| list).collect();
    assert_eq!(lists.len(), 6, "{stderr}");
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
fn the_reference_shows_the_shipped_configuration() {
    let shipped = document("deploy/aegis.toml");
    assert!(document("docs/reference.md").contains(&format!("```toml\n{shipped}```\n")));
}

#[test]
fn the_configuration_of_the_readme_loads() {
    let readme = document("README.md");
    let (_, shown) = readme.split_once("```toml\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aegis.toml");
    std::fs::write(&path, shown).unwrap();
    assert_eq!(load(path).policy.entries().len(), 1);
}

#[test]
fn the_index_names_every_document() {
    let index = document("docs/index.md");
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && name != "index.md" {
            assert!(index.contains(&format!("]({name})")), "{name}");
        }
    }
}

#[test]
fn the_readme_is_short() {
    assert!(document("README.md").lines().count() <= 200);
}

#[test]
fn the_shipped_scrape_jobs_are_documented() {
    let shipped = document("deploy/prometheus/prometheus.yml");
    let (_, job) = shipped.split_once("scrape_configs:").unwrap();
    assert!(
        document("docs/prometheus.md").contains(&format!("```yaml\nscrape_configs:{job}```\n"))
    );
}

#[test]
fn the_reference_lists_every_refusal_word_for_word() {
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
    let reference = document("docs/reference.md");
    assert!(reference.contains(&rows), "the table should be:\n{rows}");
}

#[test]
fn the_reference_names_every_flag_and_every_metric() {
    let reference = document("docs/reference.md");
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
        assert!(reference.contains(flag), "{flag}");
    }
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let scraper = world.prometheus(&aegis);
    scraper.get("/node");
    let own = scraper.get("/metrics").text();
    for metric in own.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = metric.split(' ').next().unwrap();
        assert!(reference.contains(&format!("`{name}")), "{name}");
    }
}

#[test]
fn every_dependency_has_a_reason() {
    for folder in ["", "fuzz/", "benches/peers/load/"] {
        let manifest = document(&format!("{folder}Cargo.toml"));
        let mut count = 0;
        for section in manifest.split("\n[").filter(|section| {
            let name = section.split(']').next().unwrap();
            name.ends_with("dependencies")
        }) {
            for line in section.lines().skip(1).filter(|line| line.contains(" = ")) {
                let (_, why) = line.split_once(" # ").unwrap_or_default();
                assert!(!why.is_empty(), "{folder}Cargo.toml: no reason for {line}");
                count += 1;
            }
        }
        assert!(count >= 3, "{folder}Cargo.toml: {count} dependencies");
    }
}

#[test]
fn documents_link_only_to_existing_files() {
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

/// All documents of the project, without those of build directories.
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

/// A row of the security model's tables.
struct Threat {
    row: String,
    /// Tests, files and parts of CI that show it.
    shown: Vec<String>,
    /// Programs of others that check it too, with their part of CI. Can be empty.
    judged: String,
}

fn threats() -> Vec<Threat> {
    let text = document("docs/security.md");
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let rows = rows.filter(|line| !line.starts_with("| threat |"));
    let split = rows.map(|row| {
        let cells: Vec<&str> = row.trim_end_matches('|').split(" | ").collect();
        let [_, _, shown, judged] = cells[..] else {
            panic!("not four columns: {row}")
        };
        let shown = shown.split('`').filter(|part| !part.trim().is_empty());
        Threat {
            row: row.to_owned(),
            shown: shown.map(str::to_owned).collect(),
            judged: judged.to_owned(),
        }
    });
    split.collect()
}

#[test]
fn every_threat_in_the_security_model_names_existing_tests() {
    let threats = threats();
    assert!(threats.len() > 40, "{} rows", threats.len());
    for Threat { row, shown, judged } in &threats {
        assert!(!shown.is_empty(), "nothing shows {row}");
        assert!(judged.is_empty() || judged.contains("`.ci/"), "{row}");
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

/// `.ci/NAME` is a script and a part. `.ci/run NAME` is a part, which need not have a script, or
/// `judges`, which are several.
#[test]
fn every_part_of_ci_in_the_documents_exists() {
    let run = document(".ci/run");
    let parts = run.split("\nPARTS='\n").nth(1).unwrap();
    let parts = parts.split("\n'\n").next().unwrap().lines();
    let parts: Vec<&str> = parts.map(|line| line.split(' ').next().unwrap()).collect();
    assert!(parts.len() > 30, "{parts:?}");
    for name in ["docs/security.md", "docs/tls.md"] {
        let text = document(name);
        let named = text.split("`.ci/").skip(1);
        let named: Vec<&str> = named.map(|rest| rest.split('`').next().unwrap()).collect();
        assert!(!named.is_empty(), "{name}");
        let unknown = named.into_iter().filter(|named| {
            let part = named.strip_prefix("run ");
            let has_script = part.is_some() || root().join(".ci").join(named).exists();
            let part = part.unwrap_or(named);
            let is_part = part == "judges" || parts.contains(&part);
            !(has_script && is_part)
        });
        let unknown: BTreeSet<&str> = unknown.collect();
        assert!(
            unknown.is_empty(),
            "{name}: no parts of .ci/run: {unknown:?}"
        );
    }
}

/// `.ci/run judges` runs the parts that the last column names.
#[test]
fn the_judges_of_ci_are_those_of_the_security_model() {
    let threats = threats();
    let quoted = threats.iter().flat_map(|threat| threat.judged.split('`'));
    let parts = quoted.filter_map(|text| text.strip_prefix(".ci/"));
    let named: BTreeSet<&str> = parts
        .map(|part| part.strip_prefix("run ").unwrap_or(part))
        .collect();
    let run = document(".ci/run");
    let judges = run.split("\nJUDGES='").nth(1).unwrap();
    let judges = judges.split('\'').next().unwrap().split(' ').collect();
    assert_eq!(named, judges);
}

#[test]
fn every_hostile_peer_test_is_in_the_security_model() {
    let named: Vec<String> = threats()
        .into_iter()
        .flat_map(|threat| threat.shown)
        .collect();
    for file in [
        "hostile_bodies",
        "hostile_headers",
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
