//! Rules for the code that the compiler does not check.

use std::path::{Path, PathBuf};

/// The rooms of `src`, in order: a room names only earlier ones.
const ROOMS: &[&str] = &[
    "text",
    "io",
    "refusal",
    "policy",
    "config",
    "http",
    "tls",
    "services",
    "telemetry",
    "gate",
    "state",
    "web",
    "scrape",
    "admin",
    "server",
    "cli",
    "main",
    "lib",
];

/// The stages of a scrape, in order: a stage names only the one before it.
const STAGES: &[&str] = &[
    "admit",
    "handshake",
    "route",
    "authorize",
    "upstream",
    "respond",
];

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

fn room(name: &str) -> usize {
    let room = name.split('/').next().unwrap();
    let found = ROOMS.iter().position(|known| *known == room);
    found.unwrap_or_else(|| panic!("src/{name}.rs is in no room"))
}

/// The names that follow each `prefix` in a text.
fn named<'a>(text: &'a str, prefix: &str) -> impl Iterator<Item = &'a str> {
    let is_end = |c: char| !c.is_alphanumeric() && c != '_';
    let uses = text.split(prefix).skip(1);
    uses.filter_map(move |rest| rest.split(is_end).next())
}

#[test]
fn rooms_name_only_earlier_rooms() {
    for (name, text) in files("src") {
        for used in named(&text, "crate::") {
            let is_earlier = room(used) <= room(&name);
            assert!(is_earlier, "src/{name}.rs names crate::{used}");
        }
    }
}

#[test]
fn lib_lists_the_rooms_in_order() {
    let lib = include_str!("../../src/lib.rs");
    let listed = lib.lines().filter_map(|line| {
        let module = line.strip_prefix("pub(crate) mod ");
        let module = module.or_else(|| line.strip_prefix("pub mod "));
        module.and_then(|module| module.strip_suffix(';'))
    });
    assert_eq!(listed.collect::<Vec<_>>(), ROOMS[..ROOMS.len() - 2]);
}

#[test]
fn stages_name_only_the_stage_before_them() {
    let stage = |name: &str| STAGES.iter().position(|stage| *stage == name);
    for (name, text) in files("src/scrape") {
        let Some(own) = stage(name.split('/').next().unwrap()) else {
            continue;
        };
        let named = named(&text, "super::").chain(named(&text, "crate::scrape::"));
        for used in named.filter_map(stage) {
            // Authorize takes the result of the handshake; the route is not part of it.
            let is_before = used == own || used + 1 == own || (used, own) == (1, 3);
            assert!(is_before, "src/scrape/{name}.rs names {}", STAGES[used]);
        }
    }
}

#[test]
fn every_module_has_a_header_comment() {
    for folder in ["src", "tests/it", "examples"] {
        for (name, text) in files(folder) {
            let has_header = text.starts_with("//! ");
            // A file of tests belongs to the module that it tests.
            assert!(has_header || name.ends_with("/tests"), "{folder}/{name}.rs");
        }
    }
}

#[test]
fn no_file_is_longer_than_400_lines() {
    for folder in ["src", "tests/it", "examples"] {
        for (name, text) in files(folder) {
            let lines = text.lines().count();
            assert!(lines <= 400, "{folder}/{name}.rs has {lines} lines");
        }
    }
}

#[test]
fn no_todo_is_left_in_the_code() {
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
