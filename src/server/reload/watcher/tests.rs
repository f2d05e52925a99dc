//! When the files are looked at, and which changes that finds.

use std::fs;

use super::*;
use crate::config::Overrides;
use crate::state::reload_queue;

/// A watcher for one file, which was looked at just now.
fn fixture() -> (tempfile::TempDir, Watcher) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aegis.toml");
    fs::write(&file, "old").unwrap();
    let overrides = Overrides {
        config: Some(file),
        ..Overrides::default()
    };
    let mut watcher = Watcher::new(Watched::configuration(&overrides));
    assert!(watcher.is_due());
    assert!(!watcher.look());
    assert_eq!(watcher.mode, Mode::Watching);
    (folder, watcher)
}

#[test]
fn an_event_ends_the_wait_and_the_look_finds_the_change() {
    let (folder, mut watcher) = fixture();
    let (_sender, requests) = reload_queue(1).unwrap();
    for text in ["newer", "and another"] {
        fs::write(folder.path().join("aegis.toml"), text).unwrap();
        watcher.wait(&requests, None);
        // Not because half a minute has passed.
        assert!(watcher.event.is_some());
        assert!(watcher.look());
        assert!(!watcher.look());
    }
}

#[test]
fn events_without_a_change_are_looked_at_once_in_500_ms() {
    let (folder, mut watcher) = fixture();
    let (_sender, requests) = reload_queue(1).unwrap();
    for number in 0..1_000 {
        fs::write(folder.path().join(number.to_string()), "").unwrap();
    }
    let last = watcher.last_look.unwrap();
    watcher.wait(&requests, None);
    assert!(watcher.event.is_some());
    assert!(watcher.last_look.unwrap() + LOOK_PERIOD <= Instant::now());
    assert_eq!(watcher.last_look, Some(last));
    assert!(!watcher.look());
    // All of them were discarded: none is left to end the next wait.
    let soon = Some(Instant::now());
    watcher.wait(&requests, soon);
    assert_eq!(watcher.event, None);
}

#[test]
fn the_next_look_is_soon_after_an_event_and_late_without() {
    let (_folder, mut watcher) = fixture();
    let start = Instant::now();
    let after = |milliseconds| start + Duration::from_millis(milliseconds);
    watcher.last_look = Some(start);
    assert_eq!(watcher.next_look(), after(30_000));
    for (event, look) in [(0, 500), (399, 500), (400, 500), (450, 550), (9_000, 9_100)] {
        watcher.event = Some(after(event));
        assert_eq!(watcher.next_look(), after(look), "{event}");
    }
    watcher.mode = Mode::Polling("for a reason".to_owned());
    assert_eq!(watcher.next_look(), after(500));
}

#[test]
fn a_request_ends_the_wait() {
    let (_folder, mut watcher) = fixture();
    let (sender, requests) = reload_queue(1).unwrap();
    assert!(sender.send(None));
    assert!(!sender.send(None));
    watcher.wait(&requests, None);
    assert!(!watcher.is_due());
    assert_eq!(requests.take().len(), 1);
    assert_eq!(wait_for(&requests, None, Duration::ZERO), Woken::Neither);
}

#[test]
fn a_change_is_found_by_polling_if_files_cannot_be_watched() {
    let (folder, mut watcher) = fixture();
    watcher.inotify = Err(Unwatchable::of_a_test());
    fs::write(folder.path().join("aegis.toml"), "newer").unwrap();
    assert!(watcher.look());
    assert!(watcher.is_polling());
    fs::write(folder.path().join("aegis.toml"), "and another").unwrap();
    assert!(watcher.look());
    // It tries again later, or once the set of files may be another.
    watcher.inotify = Inotify::new().map(Arc::new);
    assert!(!watcher.look());
    assert!(watcher.is_polling());
    watcher.look_again();
    assert!(!watcher.look());
    assert!(!watcher.is_polling());
}
