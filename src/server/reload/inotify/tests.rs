//! Each kind of change is an event. The kernel queues it before the call that makes the change
//! returns, so nothing here waits.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

/// A configured path, and what it leads through.
struct Fixture {
    folder: tempfile::TempDir,
    inotify: Inotify,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            inotify: Inotify::new().unwrap(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and creates its directory.
    fn write(&self, name: &str) {
        let file = self.at(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, name).unwrap();
    }

    fn link(&self, target: &str, name: &str) {
        let next = self.at("next");
        symlink(target, &next).unwrap();
        fs::rename(next, self.at(name)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    fn arm(&self, name: &str) {
        let armed = self.inotify.arm(&[self.at(name)]);
        assert_eq!(armed, Ok(Armed::Steady));
        self.inotify.drain();
    }

    /// Arms, makes a change, and asserts that there is an event.
    fn sees(&self, name: &str, what: &str, change: impl FnOnce()) {
        self.arm(name);
        assert!(!self.inotify.drain());
        change();
        assert!(self.inotify.drain(), "{what}");
    }
}

#[test]
fn each_change_of_a_file_is_an_event() {
    let fixture = Fixture::new();
    let file = fixture.at("etc/key");
    fixture.write("etc/key");
    fixture.sees("etc/key", "written in place", || {
        fs::write(&file, "new").unwrap();
    });
    fixture.sees("etc/key", "other permissions", || {
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    });
    fixture.write("etc/new");
    fixture.sees("etc/key", "replaced by a rename", || {
        fixture.rename("etc/new", "etc/key");
    });
    fixture.write("etc/new");
    fixture.sees("etc/key", "written after a rename", || {
        fs::write(&file, "newer").unwrap();
    });
    fs::hard_link(&file, fixture.at("other-name")).unwrap();
    fixture.sees("etc/key", "written by its other name", || {
        fs::write(fixture.at("other-name"), "newest").unwrap();
    });
    fixture.sees("etc/key", "removed", || fs::remove_file(&file).unwrap());
    fixture.sees("etc/key", "created", || fixture.write("etc/key"));
}

#[test]
fn a_change_of_each_link_on_the_way_is_an_event() {
    let fixture = Fixture::new();
    // As Kubernetes and certbot do it, one behind the other, and a link to a directory.
    fixture.write("secret/..v1/key");
    fixture.link("..v1", "secret/..data");
    fixture.link("..data/key", "secret/key");
    fixture.write("archive/key2");
    fs::create_dir(fixture.at("live")).unwrap();
    fixture.link("../secret/key", "live/key");
    fixture.link("live", "current");
    let file = "current/key";
    fixture.sees(file, "written behind all links", || {
        fixture.write("secret/..v1/key");
    });
    fixture.write("secret/..v2/key");
    fixture.sees(file, "..data", || fixture.link("..v2", "secret/..data"));
    fixture.sees(file, "written behind the new ..data", || {
        fixture.write("secret/..v2/key");
    });
    fixture.sees(file, "a link to a file", || {
        fixture.link("../archive/key2", "live/key");
    });
    fixture.sees(file, "written behind the new link", || {
        fixture.write("archive/key2");
    });
    fixture.write("later/key");
    fixture.sees(file, "a link to a directory", || {
        fixture.link("later", "current");
    });
    fixture.sees(file, "a link that is removed", || {
        fs::remove_file(fixture.at("current")).unwrap();
    });
    fixture.sees(file, "a directory in place of a link", || {
        fixture.rename("later", "current");
    });
}

#[test]
fn each_replaced_directory_is_an_event() {
    let fixture = Fixture::new();
    let file = "a/b/c/key";
    fixture.write(file);
    for (number, directory) in ["a/b/c", "a/b", "a"].into_iter().enumerate() {
        fixture.sees(file, directory, || {
            fixture.rename(directory, &format!("old-{number}"));
        });
        fixture.sees(file, "no directory", || fixture.write(file));
    }
    for directory in ["a/b/c", "a"] {
        fixture.sees(file, directory, || {
            fs::remove_dir_all(fixture.at(directory)).unwrap();
        });
        // Each directory on the way appears by itself.
        for parent in ["a", "a/b", "a/b/c"] {
            if !fixture.at(parent).exists() {
                fixture.sees(file, parent, || fs::create_dir(fixture.at(parent)).unwrap());
            }
        }
        fixture.sees(file, "created", || fixture.write(file));
    }
}

#[test]
fn what_is_no_longer_on_the_way_is_not_watched() {
    let fixture = Fixture::new();
    fixture.write("old/key");
    fixture.write("new/key");
    fixture.arm("old/key");
    fixture.arm("new/key");
    fixture.write("old/key");
    fixture.write("other");
    assert!(!fixture.inotify.drain());
}

#[test]
fn events_that_overflow_the_queue_are_an_event_and_are_discarded() {
    let fixture = Fixture::new();
    fixture.write("etc/key");
    fixture.arm("etc/key");
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    // The same event twice in a row is queued once.
    for _ in 0..limit.min(50_000) {
        fs::File::create(fixture.at("etc/other")).unwrap();
        fs::remove_file(fixture.at("etc/other")).unwrap();
    }
    assert!(fixture.inotify.drain());
    assert!(!fixture.inotify.drain());
    fixture.sees("etc/key", "after the overflow", || fixture.write("etc/key"));
}

#[test]
fn nothing_is_watched_if_one_file_cannot_be() {
    let fixture = Fixture::new();
    fixture.write("etc/key");
    fixture.arm("etc/key");
    let files = [fixture.at("etc/key"), PathBuf::from("/proc/self/status")];
    fixture.inotify.arm(&files).unwrap_err();
    fixture.write("etc/key");
    assert!(!fixture.inotify.drain());
    fixture.sees("etc/key", "later", || fixture.write("etc/key"));
}

#[test]
fn a_file_system_that_is_not_local_is_not_watched() {
    let inotify = Inotify::new().unwrap();
    let refused = inotify.arm(&[PathBuf::from("/proc/self/status")]);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("does not report all changes"), "{refused}");
    let missing = inotify.arm(&[PathBuf::from("")]).unwrap_err();
    assert!(missing.to_string().contains("links"), "{missing}");
}
