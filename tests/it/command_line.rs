//! The command line as a whole: what is generated from its definition, and what its predecessor
//! was called with.

use std::collections::BTreeSet;

use aegis::refusal::Refusal;

use crate::harness::aegis::run;

fn said(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `aegis --help` lists.
fn commands() -> Vec<String> {
    let help = said(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(names.contains(&"serve".to_owned()), "{help}");
    names
}

/// The long flags that the help of every command shows, aliases too.
fn flags() -> BTreeSet<String> {
    let help: String = commands()
        .iter()
        .map(|command| said(&[command, "--help"]))
        .collect();
    let words = help.split(|c: char| c.is_whitespace() || "[],;".contains(c));
    let flags: BTreeSet<String> = words
        .filter(|word| word.starts_with("--"))
        .map(str::to_owned)
        .collect();
    assert!(flags.contains("--socket-dir") && flags.contains("--sockdir"));
    flags
}

#[test]
fn each_shell_completes_every_command_and_flag() {
    for shell in ["bash", "elvish", "fish", "zsh"] {
        let script = said(&["completions", shell]);
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
        for flag in flags() {
            // fish names them without the dashes, after -l.
            let bare = format!("-l {} ", flag.trim_start_matches('-'));
            let there = match shell {
                "fish" => script.contains(&bare) || script.contains(&bare.replace(' ', "\n")),
                _ => script.contains(&flag),
            };
            assert!(there, "{shell}: {flag}");
        }
    }
}

#[test]
fn an_unknown_shell_is_named_with_those_that_are_known() {
    let output = run(&["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("tcsh"), "{said}");
    assert!(said.contains("bash, elvish, fish, zsh"), "{said}");
}

/// The manual page without what roff adds: escaped dashes, dots and fonts.
fn manual() -> String {
    let page = said(&["man"]);
    page.replace(r"\-", "-")
        .replace(r"\&", "")
        .replace(r"\fB", "")
        .replace(r"\fI", "")
        .replace(r"\fR", "")
        .replace(r"\*(Aq", "'")
        .replace(r"\(aq", "'")
        .replace(r"\\", r"\")
}

#[test]
fn the_manual_page_has_what_its_readers_look_for() {
    let page = manual();
    assert!(page.starts_with(".ie") || page.starts_with(".TH"), "{page}");
    for section in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "COMMANDS",
        "ENVIRONMENT",
        "FILES",
        "SIGNALS",
        "\"EXIT STATUS\"",
        "DIAGNOSTICS",
        "CONFIGURATION",
        "\"SEE ALSO\"",
    ] {
        assert!(page.contains(&format!("\n.SH {section}\n")), "{section}");
    }
    for command in commands() {
        assert!(page.contains(&format!("\naegis {command}\n")), "{command}");
    }
    for code in ["0", "1", "2", "78"] {
        assert!(page.contains(&format!("\n.B {code}\n")), "{code}");
    }
}

#[test]
fn the_manual_page_shows_each_flag_once_and_its_variable() {
    let page = manual();
    for flag in flags() {
        let aliases = ["--config.file", "--web.listen-address"];
        let aliases = [aliases.as_slice(), &["--hostport", "--sockdir", "--help"]].concat();
        if aliases.contains(&flag.as_str()) {
            continue;
        }
        let shown = page.lines().filter(|line| {
            let rest = line.strip_prefix(&flag);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        // Two commands have a report of their own form.
        let times = if flag == "--format" { 2 } else { 1 };
        assert_eq!(shown.count(), times, "{flag}");
    }
    let help = said(&["serve", "--help"]);
    let words = help.split(|c: char| c.is_whitespace() || "[]=".contains(c));
    let variables: Vec<&str> = words.filter(|word| word.starts_with("AEGIS_")).collect();
    assert_eq!(variables.len(), 12, "{variables:?}");
    for variable in variables {
        assert!(
            page.contains(&format!("with the {variable} environment")),
            "{variable}"
        );
    }
}

#[test]
fn the_manual_page_says_every_refusal_and_the_whole_configuration() {
    let page = manual();
    for refusal in Refusal::ALL {
        let (stage, reason) = (refusal.stage().name(), refusal.reason());
        let entry = format!(
            ".TP\nstage={stage} reason={reason}\n{refusal}. {}\n",
            refusal.remedy()
        );
        assert!(page.contains(&entry), "{entry}");
    }
    let shipped = include_str!("../../deploy/aegis.toml");
    for line in shipped.lines() {
        assert!(page.contains(&format!("\n{line}\n")), "{line}");
    }
}

#[test]
fn a_command_line_of_the_go_program_is_told_what_has_replaced_it() {
    for arguments in [
        ["-hostport", "[::1]:31337"].as_slice(),
        &["-hostport=[::1]:31337"],
        &["-sockdir", "/srv/within/run"],
        &["--sockdir=/srv/within/run"],
        &["--hostport", "[::1]:31337", "--sockdir", "/srv/within/run"],
        &["serve", "-hostport=[::1]:31337"],
        &[
            "serve",
            "--socket-dir",
            "services",
            "-hostport",
            "[::1]:31337",
        ],
        &["check", "-sockdir", "/srv/within/run"],
    ] {
        let output = run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        for part in [
            "-hostport ADDR is now --listen ADDR",
            "-sockdir DIR is --socket-dir DIR",
        ] {
            assert!(said.contains(part), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn the_flags_of_the_go_program_are_known_to_serve_by_two_dashes() {
    let arguments = ["check", "--hostport", "nowhere", "--sockdir", "/nowhere"];
    let said = String::from_utf8(run(&arguments).stderr).unwrap();
    assert!(said.contains("nowhere"), "{said}");
    assert!(!said.contains("is now --listen"), "{said}");
}
