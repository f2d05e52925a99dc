//! `--user`: becomes the user that aegis runs as, to see what aegis will see.

use std::ffi::CString;

use nix::unistd::{Uid, User, getgrouplist, setgroups, setresgid, setresuid};

use crate::server::privileges::is_root;

/// Takes the uid and the groups of a user, and so gives up all capabilities.
///
/// # Errors
/// This process is not root, or there is no such user.
pub(super) fn become_user(name: &str) -> Result<(), String> {
    if !is_root() {
        return Err("--user needs root; without it, aegis looks as the present user".to_owned());
    }
    let user = match name.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(name),
    };
    let user = user.map_err(|error| format!("--user: {name} cannot be looked up: {error}"))?;
    let Some(user) = user else {
        return Err(format!(
            "--user: there is no user {name}; give the User= of aegis's unit"
        ));
    };
    take_identity(&user).map_err(|error| format!("--user: cannot become {name}: {error}"))
}

fn take_identity(user: &User) -> nix::Result<()> {
    let name = CString::new(user.name.as_bytes()).unwrap_or_default();
    setgroups(&getgrouplist(&name, user.gid)?)?;
    setresgid(user.gid, user.gid, user.gid)?;
    setresuid(user.uid, user.uid, user.uid)
}
