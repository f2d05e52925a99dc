//! The whole command line: the texts generated from its definition, and the flags of the
//! predecessor.

use std::collections::BTreeSet;

use aegis::refusal::Refusal;

use crate::harness::aegis::run;

fn stdout_of(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `aegis --help` lists.
fn commands() -> Vec<String> {
    let help = stdout_of(&["--help"]);
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
        .map(|command| stdout_of(&[command, "--help"]))
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
        let script = stdout_of(&["completions", shell]);
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
fn an_unknown_shell_is_reported_with_the_known_ones() {
    let output = run(&["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("tcsh"), "{stderr}");
    assert!(stderr.contains("bash, elvish, fish, zsh"), "{stderr}");
}

/// The manual page without roff's markup: escaped dashes, dots and fonts.
fn manual() -> String {
    let page = stdout_of(&["man"]);
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
fn the_manual_page_has_the_usual_sections() {
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
        // Each command with this flag has its own values.
        let times = match flag.as_str() {
            "--format" => 5,
            "--user" => 2,
            _ => 1,
        };
        assert_eq!(shown.count(), times, "{flag}");
    }
    let help = stdout_of(&["serve", "--help"]);
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
fn the_manual_page_has_every_refusal_and_the_whole_configuration() {
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
fn a_legacy_command_line_is_answered_with_its_replacement() {
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
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
        for part in [
            "-hostport ADDR is now --listen ADDR",
            "-sockdir DIR is --socket-dir DIR",
        ] {
            assert!(stderr.contains(part), "{arguments:?}: {stderr}");
        }
    }
}

#[test]
fn serve_accepts_legacy_flags_with_two_dashes() {
    let arguments = ["check", "--hostport", "nowhere", "--sockdir", "/nowhere"];
    let stderr = String::from_utf8(run(&arguments).stderr).unwrap();
    assert!(stderr.contains("nowhere"), "{stderr}");
    assert!(!stderr.contains("is now --listen"), "{stderr}");
}
