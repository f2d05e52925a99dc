//! Which files of a directory are opened as sockets.

use super::open::open_by_one_name;
use super::*;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;

/// Listens at a path of any length, through its folder's descriptor.
fn listen(path: &Path) -> UnixListener {
    let folder = File::open(path.parent().unwrap()).unwrap();
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
    UnixListener::bind(short.join(path.file_name().unwrap())).unwrap()
}

/// Why a socket is not opened; the same in the event loop, unless the directory is not open yet.
fn reason(directory: &Directory, file: &str) -> Option<Refusal> {
    let at_once = directory.open_socket_at_once(file);
    let opened = directory.open_socket(file);
    let reason = opened.err().map(|refused| refused.refusal);
    if let Some(at_once) = at_once {
        let at_once = at_once.err().map(|refused| refused.refusal);
        assert_eq!(at_once, reason, "{file}, at once");
    }
    reason
}

#[test]
fn only_a_socket_with_one_name_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let _listener = listen(&at("good.sock"));
    let _linked = listen(&at("linked.sock"));
    std::fs::hard_link(at("linked.sock"), at("second.sock")).unwrap();
    std::os::unix::fs::symlink("good.sock", at("symlink.sock")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("outside.sock")).unwrap();
    std::fs::write(at("file.sock"), "").unwrap();
    std::fs::create_dir(at("folder.sock")).unwrap();
    let directory = Directory::at(folder.path());
    let cases = [
        ("good.sock", None),
        ("linked.sock", Some(Refusal::Escapes)),
        ("second.sock", Some(Refusal::Escapes)),
        ("symlink.sock", Some(Refusal::Escapes)),
        ("outside.sock", Some(Refusal::Escapes)),
        ("file.sock", Some(Refusal::NotASocket)),
        ("folder.sock", Some(Refusal::NotASocket)),
        ("absent.sock", Some(Refusal::Missing)),
        ("../good.sock", Some(Refusal::Escapes)),
        ("/etc/passwd", Some(Refusal::Escapes)),
    ];
    let held = directory.current_fd().unwrap();
    for (file, expected) in cases {
        assert_eq!(reason(&directory, file), expected, "{file}");
        let opened = open_by_one_name(&held, file).map_err(|error| refused(&error));
        let otherwise = opened.and_then(Socket::check);
        let otherwise = otherwise.err().map(|refused| refused.refusal);
        assert_eq!(otherwise, expected, "{file}, without openat2");
    }
}

#[test]
fn a_socket_removed_after_open_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.sock");
    let _listener = listen(&path);
    let held = Directory::at(folder.path()).current_fd().unwrap();
    let opened = open_beneath(&held, "node.sock").unwrap();
    std::fs::remove_file(&path).unwrap();
    let refused = Socket::check(opened).unwrap_err();
    assert_eq!(refused.refusal, Refusal::Missing);
}

#[test]
fn a_recreated_directory_is_reopened() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("services");
    std::fs::create_dir(&folder).unwrap();
    let directory = Directory::at(&folder);
    assert_eq!(reason(&directory, "node.sock"), Some(Refusal::Missing));
    std::fs::remove_dir(&folder).unwrap();
    assert_eq!(reason(&directory, "node.sock"), Some(Refusal::Missing));
    std::fs::create_dir(&folder).unwrap();
    let _listener = listen(&folder.join("node.sock"));
    assert_eq!(reason(&directory, "node.sock"), None);
    // Another directory replaces it, though the old one still has a socket.
    std::fs::rename(&folder, parent.path().join("old")).unwrap();
    assert_eq!(reason(&directory, "node.sock"), None);
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(reason(&directory, "node.sock"), Some(Refusal::Missing));
    assert_eq!(directory.list().unwrap().services, []);
}

#[test]
fn a_link_that_replaces_a_directory_is_refused() {
    use std::os::unix::fs::symlink;
    let parent = tempfile::tempdir().unwrap();
    let at = |name: &str| parent.path().join(name);
    for folder in ["own", "other"] {
        std::fs::create_dir(at(folder)).unwrap();
    }
    symlink("own", at("link")).unwrap();
    let _own = listen(&at("own/a.sock"));
    let _other = listen(&at("other/b.sock"));
    let (plain, linked) = (Directory::at(&at("own")), Directory::at(&at("link")));
    let absent = Directory::at(&at("later"));
    assert_eq!(reason(&plain, "a.sock"), None);
    assert_eq!(reason(&linked, "a.sock"), None);
    std::fs::rename(at("own"), at("old")).unwrap();
    symlink("other", at("own")).unwrap();
    assert_eq!(reason(&plain, "b.sock"), Some(Refusal::Escapes));
    assert_eq!(reason(&linked, "b.sock"), None);
    // This directory was not used before.
    symlink("other", at("later")).unwrap();
    assert_eq!(reason(&absent, "b.sock"), Some(Refusal::Escapes));
    // The directory is back.
    std::fs::remove_file(at("own")).unwrap();
    std::fs::rename(at("old"), at("own")).unwrap();
    assert_eq!(reason(&plain, "a.sock"), None);
}

#[test]
fn a_listing_of_an_overfull_directory_is_truncated() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..50 {
        std::fs::write(folder.path().join(format!("-{number}.sock")), "").unwrap();
    }
    let unusable = Directory::at(folder.path()).unusable();
    assert_eq!(unusable.len(), 11);
    assert_eq!(unusable[10], "40 more in the socket directory");
    assert!(!Directory::at(folder.path()).list().unwrap().is_truncated);
    for number in 50..=MAX_SOCKET_FILES {
        std::fs::write(folder.path().join(format!("{number}.sock")), "").unwrap();
    }
    let listing = Directory::at(folder.path()).list().unwrap();
    assert!(listing.is_truncated);
    assert!(listing.services.len() < MAX_SOCKET_FILES);
}

#[test]
fn sockets_with_unusable_names_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["node.sock", "metrics.sock", "-x.sock", "readme.txt"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let _others = ["app.socket", ".hidden"].map(|name| listen(&folder.path().join(name)));
    let directory = Directory::at(folder.path());
    let services = directory.list().unwrap().services;
    assert_eq!(services, ["node".parse().unwrap()]);
    let mut unusable = directory.unusable();
    unusable.sort();
    assert!(unusable[0].starts_with("-x.sock: is not a service name"));
    assert!(unusable[2].starts_with("metrics.sock: the name is reserved"));
    assert!(unusable[1].starts_with("app.socket: is a socket, but its name does not end in .sock"));
    assert_eq!(unusable.len(), 3);
}
