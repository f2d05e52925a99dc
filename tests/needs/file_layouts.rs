//! Needs Landlock: layouts of the files, and what `check`, `sandbox` and `serve` report about them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::Tests;
use crate::harness::aegis::command;
use crate::harness::{Aegis, World, answer, folder};

pub const TESTS: Tests = tests![
    a_file_is_replaced_behind_each_link_on_its_way,
    a_file_in_a_home_is_allowed_alone_and_a_replaced_one_is_reported,
    relative_paths_and_credentials_work_in_the_sandbox,
    a_socket_directory_behind_links_is_created_again,
    check_sandbox_and_serve_fail_without_a_required_sandbox,
];

/// A world whose commands can run in another environment.
pub struct Layout {
    pub world: World,
    pub home: Option<PathBuf>,
    pub config: PathBuf,
    /// The command that runs the program, if there is one.
    pub runner: Option<fn(&World) -> Command>,
}

impl Layout {
    pub fn new(world: World) -> Self {
        let config = world.write_config();
        Self {
            world,
            home: None,
            config,
            runner: None,
        }
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = self
            .runner
            .map_or_else(command, |runner| runner(&self.world));
        command.args([subcommand, "--config"]).arg(&self.config);
        command.current_dir(self.world.folder.path());
        if let Some(home) = &self.home {
            command.env("HOME", home);
        }
        command
    }

    pub fn run(&self, subcommand: &str) -> Output {
        self.command(subcommand).output().unwrap()
    }

    /// The warnings of `check` about the sandbox. Asserts that `sandbox` and `serve` report the
    /// same.
    pub fn findings(&self) -> (Aegis, Vec<String>) {
        let (check, sandbox) = (self.run("check"), self.run("sandbox"));
        let aegis = Aegis::spawn(self.command("serve"));
        let checked = sentences(&text(&check.stdout), "warning: ");
        let stdout = text(&sandbox.stdout);
        assert_eq!(sandbox.status.code(), Some(0), "{stdout}");
        assert!(stdout.contains("\nworks: reload\n"), "{stdout}");
        let tried = sentences(&stdout, "");
        let log = aegis.log();
        let logged = log.iter().filter_map(|line| line.split_once(" WARN "));
        let logged: String = logged.map(|(_, rest)| format!("{rest}\n")).collect();
        assert_eq!(checked, tried);
        assert_eq!(checked, sentences(&logged, ""));
        (aegis, checked)
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The warnings about files that cannot be replaced.
fn sentences(text: &str, start: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.contains("until a restart"));
    lines
        .map(|line| line.strip_prefix(start).unwrap().to_owned())
        .collect()
}

/// Writes another certificate of the server into a folder.
pub fn renew(world: &World, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    world.pki.server().write(folder, "server");
}

/// Replaces the target of a link atomically.
pub fn relink(target: impl AsRef<Path>, link: &Path) {
    let next = link.with_file_name("next");
    symlink(target, &next).unwrap();
    fs::rename(next, link).unwrap();
}

/// Replaces a file, and waits for the reload.
pub fn reloads(aegis: &Aegis, replace: impl FnOnce()) {
    let before = aegis.count_logged(&["INFO reloaded"]);
    replace();
    aegis.logged_times(before + 1, &["INFO reloaded"]);
}

fn a_file_is_replaced_behind_each_link_on_its_way() {
    // Each link is in its own folder, so that each folder needs its own rule.
    let world = World::new();
    let (linked, mounted): (TempDir, TempDir) = (folder(), folder());
    let at = |folder: &TempDir, name: &str| folder.path().join(name);
    renew(&world, &at(&mounted, "..v1"));
    symlink("..v1", at(&mounted, "..data")).unwrap();
    for name in ["server.pem", "server.key"] {
        symlink(Path::new("..data").join(name), at(&mounted, name)).unwrap();
        symlink(at(&mounted, name), at(&linked, name)).unwrap();
        fs::remove_file(world.path(name)).unwrap();
        symlink(at(&linked, name), world.path(name)).unwrap();
    }
    let layout = Layout::new(world);
    let (aegis, findings) = layout.findings();
    assert_eq!(findings, [""; 0]);
    let stdout = text(&layout.run("sandbox").stdout);
    let named = layout.world.path("server.key");
    for directory in [layout.world.folder.path(), linked.path(), mounted.path()] {
        let (named, directory) = (named.display(), directory.display());
        let works = format!("works: replace {named} in {directory}\n");
        assert!(stdout.contains(&works), "{works}{stdout}");
    }
    let world = &layout.world;
    reloads(&aegis, || {
        renew(world, &at(&mounted, "..v2"));
        relink("..v2", &at(&mounted, "..data"));
    });
    reloads(&aegis, || {
        renew(world, &at(&linked, "new"));
        for name in ["server.pem", "server.key"] {
            relink(Path::new("new").join(name), &at(&linked, name));
        }
    });
    reloads(&aegis, || {
        renew(world, &world.path("new"));
        for name in ["server.pem", "server.key"] {
            relink(Path::new("new").join(name), &world.path(name));
        }
    });
    assert_eq!(world.prometheus(&aegis).get("/absent").status, 404);
}

fn a_file_in_a_home_is_allowed_alone_and_a_replaced_one_is_reported() {
    let mut layout = Layout::new(World::new());
    layout.home = Some(layout.world.folder.path().to_owned());
    let (aegis, findings) = layout.findings();
    let world = &layout.world;
    let home = world.folder.path().display();
    let expected = ["aegis.toml", "ca.pem", "server.key", "server.pem"].map(|name| {
        let file = world.path(name);
        let file = file.display();
        format!(
            "{file} is in {home}, which is too broad for the sandbox to allow: once {file} is replaced, aegis cannot read it until a restart; move it to its own directory"
        )
    });
    assert_eq!(findings, expected);
    // A file that is written in place stays the same file.
    reloads(&aegis, || {
        let config = fs::read_to_string(&layout.config).unwrap();
        fs::write(&layout.config, config + "# changed\n").unwrap();
    });
    renew(world, &world.path("new"));
    fs::rename(world.path("new/server.pem"), world.path("server.pem")).unwrap();
    aegis.logged(&[
        "not reloaded",
        "server.pem",
        "Permission denied",
        "restart aegis",
    ]);
}

fn relative_paths_and_credentials_work_in_the_sandbox() {
    let mut relative = Layout::new(World::new());
    relative.config = PathBuf::from("aegis.toml");
    let (aegis, findings) = relative.findings();
    assert_eq!(findings, [""; 0]);
    reloads(&aegis, || {
        renew(&relative.world, &relative.world.path("new"));
        for name in ["server.pem", "server.key"] {
            let new = relative.world.path("new").join(name);
            fs::rename(new, relative.world.path(name)).unwrap();
        }
    });

    // As systemd creates it: only the owner can read it.
    let handed_over = Layout::new(World::new());
    let credentials = folder();
    let mut config = fs::read_to_string(&handed_over.config).unwrap();
    for name in ["server.pem", "server.key", "ca.pem"] {
        let there = credentials.path().join(name);
        fs::rename(handed_over.world.path(name), &there).unwrap();
        fs::set_permissions(&there, fs::Permissions::from_mode(0o400)).unwrap();
        config = config.replace(&format!("{name:?}"), &format!("{there:?}"));
    }
    fs::set_permissions(credentials.path(), fs::Permissions::from_mode(0o500)).unwrap();
    fs::write(&handed_over.config, config).unwrap();
    let (_aegis, findings) = handed_over.findings();
    fs::set_permissions(credentials.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(findings, [""; 0]);
}

fn a_socket_directory_behind_links_is_created_again() {
    let world = World::new();
    let (linked, end) = (folder(), folder());
    let services = end.path().join("services");
    fs::rename(world.path("services"), &services).unwrap();
    symlink(&services, linked.path().join("link")).unwrap();
    symlink(linked.path().join("link"), world.path("services")).unwrap();
    let layout = Layout::new(world);
    let (aegis, findings) = layout.findings();
    assert_eq!(findings, [""; 0]);
    fs::remove_dir(&services).unwrap();
    fs::create_dir(&services).unwrap();
    let _node = layout.world.service("node", answer("up 1\n"));
    let scraper = layout.world.prometheus(&aegis);
    assert!(scraper.get("/-/sd").text().contains("/node"));
    assert_eq!(scraper.get("/node").text(), "up 1\n");
}

fn check_sandbox_and_serve_fail_without_a_required_sandbox() {
    let mut world = World::new();
    world.settings.top = "sandbox = \"required\"".to_owned();
    let mut layout = Layout::new(world);
    let (_aegis, findings) = layout.findings();
    assert_eq!(findings, [""; 0]);
    layout.home = Some(layout.world.folder.path().to_owned());
    let errors = ["check", "sandbox", "serve"].map(|subcommand| {
        let output = layout.run(subcommand);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{subcommand}: {stderr}");
        // Without the warning about a low limit on open files, which `serve` may log first.
        let errors = stderr.lines().filter(|line| line.starts_with("aegis: "));
        errors.map(str::to_owned).collect::<Vec<_>>()
    });
    let [check, sandbox, serve] = errors;
    assert_eq!(check.len(), 5, "{check:#?}");
    assert!(
        check[0].contains("aegis.toml: sandbox: is \"required\", but "),
        "{check:#?}"
    );
    assert_eq!((&check, &check), (&sandbox, &serve));
}
