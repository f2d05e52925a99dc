//! Which file systems are local.

use std::os::fd::AsFd;

use rustix::fs::fstatfs;

/// Whether the file system of an open file is local, so that it answers at once and reports every
/// change.
pub(crate) fn is_local(file: impl AsFd) -> bool {
    fstatfs(file).is_ok_and(|kind| LOCAL_FILE_SYSTEMS.contains(&kind.f_type))
}

/// File systems that need no other host and no program to answer (statfs(2)).
const LOCAL_FILE_SYSTEMS: &[i64] = &[
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
];
