//! Resolves a path and records every symbolic link on the way.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{self, Component, Path, PathBuf};

/// How a path resolves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Each link that was followed, in order. Its own path contains no other link.
    pub(crate) links: Vec<PathBuf>,
    /// The resolved path, which contains no link. It may not exist.
    pub(crate) end: PathBuf,
}

impl Route {
    /// Resolves a path as the kernel does. Returns `None` if it is empty or has too many links.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let mut links = Vec::new();
        let mut end = PathBuf::from("/");
        let mut remaining = steps(&path::absolute(path).ok()?);
        while let Some(step) = remaining.pop_front() {
            match step {
                Step::Root => end = PathBuf::from("/"),
                Step::Up => drop(end.pop()),
                Step::Into(name) => {
                    let entry = end.join(name);
                    let Ok(target) = fs::read_link(&entry) else {
                        end = entry;
                        continue;
                    };
                    if links.len() == MAX_LINKS {
                        return None;
                    }
                    links.push(entry);
                    let mut target = steps(&target);
                    target.append(&mut remaining);
                    remaining = target;
                }
            }
        }
        Some(Self { links, end })
    }
}

enum Step {
    Root,
    Up,
    Into(OsString),
}

fn steps(path: &Path) -> VecDeque<Step> {
    let steps = path.components().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Into(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    });
    steps.collect()
}

/// As in Linux (path_resolution(7)).
const MAX_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_of_a_path_is_found_and_a_loop_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        for directory in ["my", "csi", "csi/v1"] {
            fs::create_dir(at(directory)).unwrap();
        }
        fs::write(at("csi/v1/server.pem"), "").unwrap();
        symlink("v1", at("csi/..data")).unwrap();
        symlink("..data/server.pem", at("csi/server.pem")).unwrap();
        symlink(at("csi/server.pem"), at("my/server.pem")).unwrap();
        symlink("my/../my", at("mine")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let route = Route::of(&at("mine/./server.pem")).unwrap();
        let links = ["mine", "my/server.pem", "csi/server.pem", "csi/..data"].map(at);
        assert_eq!(route.links, links);
        assert_eq!(route.end, at("csi/v1/server.pem"));
        let absent = Route::of(&at("my/absent")).unwrap();
        assert_eq!((absent.links.len(), absent.end), (0, at("my/absent")));
        assert_eq!(Route::of(&at("loop")), None);
        assert_eq!(Route::of(Path::new("")), None);
    }
}
