//! The rules of the house that no compiler holds.

use std::path::{Path, PathBuf};

/// Which modules each module may name, from the top of a scrape to the bottom.
const LAYERS: &[(&str, &[&str])] = &[
    ("peer", &[]),
    ("networks", &["peer"]),
    ("identity", &["escaped"]),
    ("formalities", &[]),
    ("service", &[]),
    ("refusal", &["escaped"]),
    ("view", &[]),
    ("escaped", &[]),
    ("origin", &[]),
    ("deadline", &[]),
    ("unix_socket", &[]),
    (
        "config",
        &[
            "escaped", "identity", "networks", "origin", "policy", "service",
        ],
    ),
    ("credentials", &["config", "escaped", "formalities"]),
    (
        "policy",
        &[
            "origin", "identity", "networks", "peer", "refusal", "service",
        ],
    ),
    ("metrics", &["refusal", "service", "view"]),
    ("outcomes", &["refusal", "service"]),
    ("log", &["config", "refusal"]),
    ("scrape/admit", &["config", "peer", "policy", "refusal"]),
    (
        "scrape/handshake",
        &[
            "config",
            "credentials",
            "deadline",
            "escaped",
            "formalities",
            "identity",
            "peer",
            "policy",
            "refusal",
        ],
    ),
    (
        "scrape/route",
        &[
            "config", "deadline", "escaped", "refusal", "service", "view",
        ],
    ),
    ("scrape/authorize", &["policy", "refusal", "service"]),
    (
        "scrape/upstream",
        &[
            "config",
            "escaped",
            "policy",
            "refusal",
            "service",
            "unix_socket",
        ],
    ),
    (
        "scrape/respond",
        &["config", "deadline", "escaped", "refusal", "view"],
    ),
    (
        "scrape/record",
        &[
            "gate", "log", "metrics", "peer", "refusal", "service", "view",
        ],
    ),
    (
        "scrape/explain",
        &["gate", "identity", "peer", "policy", "refusal", "service"],
    ),
    ("scrape/probe", &["config", "refusal", "service"]),
    ("scrape/rehearsal", &["config", "gate", "peer"]),
    (
        "scrape/operator",
        &["gate", "refusal", "service", "view", "views"],
    ),
    (
        "scrape",
        &[
            "config", "escaped", "gate", "policy", "refusal", "service", "view", "views",
        ],
    ),
    (
        "forecast",
        &[
            "config",
            "credentials",
            "identity",
            "networks",
            "policy",
            "refusal",
            "scrape",
            "service",
        ],
    ),
    (
        "gate",
        &[
            "forecast",
            "config",
            "credentials",
            "log",
            "metrics",
            "outcomes",
            "policy",
            "scrape",
            "service",
            "view",
        ],
    ),
    (
        "views",
        &[
            "credentials",
            "gate",
            "identity",
            "outcomes",
            "peer",
            "policy",
            "refusal",
            "scrape",
            "service",
            "view",
        ],
    ),
    (
        "listen",
        &[
            "config",
            "gate",
            "metrics",
            "peer",
            "sandbox",
            "scrape",
            "unix_socket",
        ],
    ),
    ("sandbox", &["config", "unix_socket"]),
    ("systemd", &["config", "gate", "origin"]),
    (
        "admin",
        &["config", "gate", "listen", "scrape", "unix_socket"],
    ),
    ("reload", &["config", "gate", "listen", "log", "systemd"]),
    (
        "workers",
        &["deadline", "gate", "listen", "sandbox", "systemd"],
    ),
    (
        "run",
        &[
            "admin",
            "config",
            "credentials",
            "gate",
            "listen",
            "log",
            "metrics",
            "reload",
            "sandbox",
            "scrape",
            "systemd",
            "workers",
        ],
    ),
    ("cli", &["config", "gate", "refusal", "run"]),
    ("cli/health", &["admin", "config", "run", "view"]),
    (
        "cli/check",
        &[
            "admin", "config", "escaped", "origin", "run", "sandbox", "view",
        ],
    ),
    ("cli/sandbox", &["config", "gate", "run", "sandbox"]),
    (
        "cli/explain",
        &[
            "config",
            "credentials",
            "escaped",
            "gate",
            "identity",
            "origin",
            "peer",
            "policy",
            "refusal",
            "run",
            "scrape",
            "service",
        ],
    ),
    (
        "cli/services",
        &[
            "config", "policy", "refusal", "run", "scrape", "service", "views",
        ],
    ),
    ("cli/completions", &[]),
    ("cli/man", &["refusal", "run"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// What a stage may take from the stages before it: the type that they hand over.
const HANDED_OVER: &[(&str, &str)] = &[
    ("handshake", "super::admit::{Admitted, Slot, Standing}"),
    ("handshake", "super::super::admit::Standing"),
    ("authorize", "super::handshake::Presented"),
    ("record", "super::handshake::Presented"),
    ("respond", "super::route::{Afterwards, AnswerWith, Heads}"),
    ("respond", "super::upstream::Connected"),
    ("respond", "super::super::route::{Asked, TIMEOUT_HEADER}"),
    ("respond", "super::super::upstream::Connected"),
];

/// What asks the stages and is none, as `scrape.rs` itself.
const ABOVE_THE_STAGES: &[&str] = &["explain", "operator", "probe", "rehearsal"];

fn files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = vec![root.join(folder)];
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path
                .strip_prefix(root.join(folder))
                .unwrap()
                .with_extension("");
            let text = std::fs::read_to_string(&path).unwrap();
            files.push((name.to_str().unwrap().to_owned(), text));
        }
    }
    assert!(!files.is_empty());
    files
}

fn layer(name: &str) -> (&'static str, &'static [&'static str]) {
    let inside = |layer: &str| name == layer || name.starts_with(&format!("{layer}/"));
    let found = LAYERS.iter().filter(|(layer, _)| inside(layer));
    *found
        .max_by_key(|(layer, _)| layer.len())
        .unwrap_or_else(|| panic!("{name} has no layer"))
}

#[test]
fn modules_name_only_what_lies_below_them() {
    for (name, text) in files("src") {
        let (own, below) = layer(&name);
        for used in text.split("crate::").skip(1) {
            let used: String = used
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let fine = used == own
                || own.starts_with(&format!("{used}/"))
                || below.contains(&used.as_str());
            assert!(fine, "src/{name}.rs names crate::{used}");
        }
    }
}

#[test]
fn stages_take_from_each_other_only_what_is_handed_over() {
    const STAGES: &[&str] = &[
        "admit",
        "handshake",
        "route",
        "authorize",
        "upstream",
        "respond",
        "record",
    ];
    for (name, text) in files("src/scrape") {
        let own = name.split('/').next().unwrap();
        if ABOVE_THE_STAGES.contains(&own) {
            continue;
        }
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("use super::"))
        {
            let used = line
                .trim_start_matches("super::")
                .split("::")
                .next()
                .unwrap();
            if used == own || !STAGES.contains(&used) {
                continue;
            }
            let line = format!("super::{}", line.trim_end_matches(';'));
            assert!(
                HANDED_OVER.contains(&(own, &line)),
                "src/scrape/{name}.rs: use {line}"
            );
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for folder in ["src", "tests/it", "examples"] {
        for (name, text) in files(folder) {
            let has_header = text.starts_with("//! ");
            // Tests in a file of their own belong to the module that they test.
            assert!(has_header || name.ends_with("/tests"), "{folder}/{name}.rs");
        }
    }
}

#[test]
fn no_file_is_too_long_to_be_read_at_one_go() {
    for folder in ["src", "tests/it", "examples"] {
        for (name, text) in files(folder) {
            let lines = text.lines().count();
            assert!(lines <= 400, "{folder}/{name}.rs has {lines} lines");
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    for folder in ["src", "examples"] {
        for (name, text) in files(folder) {
            for word in ["TODO", "FIXME", "XXX"] {
                assert!(
                    !text.contains(word),
                    "{folder}/{name}.rs: {word} without an issue"
                );
            }
        }
    }
}
