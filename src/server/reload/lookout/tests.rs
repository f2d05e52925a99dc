//! When the files are looked at, and which changes that finds.

use std::fs;

use super::*;
use crate::config::Overrides;
use crate::state::reload_queue;

/// A lookout for one file, which was looked at just now.
fn fixture() -> (tempfile::TempDir, Lookout) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aegis.toml");
    fs::write(&file, "old").unwrap();
    let overrides = Overrides {
        config: Some(file),
        ..Overrides::default()
    };
    let mut lookout = Lookout::new(Watched::configuration(&overrides));
    assert!(lookout.is_due());
    assert!(!lookout.look());
    assert_eq!(lookout.mode, Mode::Watching);
    (folder, lookout)
}

#[test]
fn an_event_ends_the_wait_and_the_look_finds_the_change() {
    let (folder, mut lookout) = fixture();
    let (_sender, requests) = reload_queue(1).unwrap();
    for text in ["newer", "and another"] {
        fs::write(folder.path().join("aegis.toml"), text).unwrap();
        lookout.wait(&requests, None);
        // Not because half a minute has passed.
        assert!(lookout.event.is_some());
        assert!(lookout.look());
        assert!(!lookout.look());
    }
}

#[test]
fn events_without_a_change_are_looked_at_once_in_500_ms() {
    let (folder, mut lookout) = fixture();
    let (_sender, requests) = reload_queue(1).unwrap();
    for number in 0..1_000 {
        fs::write(folder.path().join(number.to_string()), "").unwrap();
    }
    let last = lookout.last_look.unwrap();
    lookout.wait(&requests, None);
    assert!(lookout.event.is_some());
    assert!(lookout.last_look.unwrap() + LOOK_PERIOD <= Instant::now());
    assert_eq!(lookout.last_look, Some(last));
    assert!(!lookout.look());
    // All of them were discarded: none is left to end the next wait.
    let soon = Some(Instant::now());
    lookout.wait(&requests, soon);
    assert_eq!(lookout.event, None);
}

#[test]
fn the_next_look_is_soon_after_an_event_and_late_without() {
    let (_folder, mut lookout) = fixture();
    let start = Instant::now();
    let after = |milliseconds| start + Duration::from_millis(milliseconds);
    lookout.last_look = Some(start);
    assert_eq!(lookout.next_look(), after(30_000));
    for (event, look) in [(0, 500), (399, 500), (400, 500), (450, 550), (9_000, 9_100)] {
        lookout.event = Some(after(event));
        assert_eq!(lookout.next_look(), after(look), "{event}");
    }
    lookout.mode = Mode::Polling("for a reason".to_owned());
    assert_eq!(lookout.next_look(), after(500));
}

#[test]
fn a_request_ends_the_wait() {
    let (_folder, mut lookout) = fixture();
    let (sender, requests) = reload_queue(1).unwrap();
    assert!(sender.send(None));
    assert!(!sender.send(None));
    lookout.wait(&requests, None);
    assert!(!lookout.is_due());
    assert_eq!(requests.take().len(), 1);
    assert_eq!(wait_for(&requests, None, Duration::ZERO), Woken::Neither);
}

#[test]
fn a_change_is_found_by_polling_if_files_cannot_be_watched() {
    let (folder, mut lookout) = fixture();
    lookout.inotify = Err(Unwatchable::of_a_test());
    fs::write(folder.path().join("aegis.toml"), "newer").unwrap();
    assert!(lookout.look());
    assert!(lookout.is_polling());
    fs::write(folder.path().join("aegis.toml"), "and another").unwrap();
    assert!(lookout.look());
    // It tries again later, or once the set of files may be another.
    lookout.inotify = Inotify::new().map(Arc::new);
    assert!(!lookout.look());
    assert!(lookout.is_polling());
    lookout.look_again();
    assert!(!lookout.look());
    assert!(!lookout.is_polling());
}
