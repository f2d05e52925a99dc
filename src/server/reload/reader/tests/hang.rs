//! Files on a file system that hangs.

use super::*;

#[test]
fn removals_apply_while_the_key_file_hangs() {
    let mut files = Dice(1).files();
    let fixture = Fixture::new(&files);
    let state = fixture.state(reload_queue(1).unwrap().0);
    let overrides = fixture.overrides.clone();
    let watched = Watched::configuration(&overrides);
    let config = Config::load(&overrides).unwrap();
    let (requests, phases) = (reload_queue(1).unwrap().1, mpsc::channel(1).0);
    let mut reader = Reader::new(&overrides, &config, watched, requests, phases);
    let mut whole = state.gate();
    file_deadline::start().unwrap();
    let (release_tx, release_rx) = blocking::channel::<()>();
    let key = fixture.folder.path().join("server.key");
    let hung = file_deadline::begin(&key, move || release_rx.recv().is_err());
    files.grants = BTreeSet::from([FIRST_GRANT]);
    fixture.write(&files, Breakage::None);
    assert!(reader.watcher.watched.look());
    reader.reload(&state, &mut whole, Cause::Changed);
    let last = state.last_reload();
    assert_eq!(last.faults.len(), 1, "{last:?}");
    let fault = &last.faults[0];
    assert!(
        fault.contains("server.key cannot be read: its file system does not answer"),
        "{fault}"
    );
    assert!(last.restricted.contains(&"allow"), "{last:?}");
    drop(release_tx);
    assert!(hung.wait(Instant::now() + Duration::from_secs(60)).unwrap());
    reader.reload(&state, &mut whole, Cause::Retry);
    assert!(state.last_reload().faults.is_empty());
    assert!(state.last_reload().restricted.is_empty());
}
