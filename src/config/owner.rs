//! The user that must own a service's socket: a uid, or the name of a user.
//!
//! Names are looked up until aegis enters its sandbox, and remembered after that. A lookup can ask a
//! daemon (sssd, systemd-userdbd), load a library or open a file that was replaced since: the
//! sandbox allows none of that, and the reload of a certificate must not wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

/// The user that must own a service's socket and answer on it. Root may do so in its place:
/// aegis trusts root anyway, and launchers and socket units of systemd listen as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The user with this uid.
    User(u32),
    /// A user whose name cannot be looked up any more. It matches no uid.
    NotKnownSinceStart,
}

impl Owner {
    /// Explains why a uid is not this owner; `verb` says what it does, such as "owns it".
    pub(crate) fn mismatch(self, uid: u32, verb: &str) -> Option<String> {
        match self {
            Self::User(owner) if owner == uid || uid == ROOT => None,
            Self::User(_) => Some(format!("uid {uid} {verb}")),
            Self::NotKnownSinceStart => Some(
                "the name in owner was not configured when aegis started; restart aegis".to_owned(),
            ),
        }
    }
}

const ROOT: u32 = 0;

/// The users whose names were looked up. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Users(Arc<Mutex<KnownUsers>>);

#[derive(Debug, Default)]
struct KnownUsers {
    /// As many as the configuration named before the sandbox was entered.
    uids: BTreeMap<String, u32>,
    is_closed: bool,
}

/// The result of a lookup.
pub(super) enum Lookup {
    Found(u32),
    Absent,
    /// It is not remembered, and lookups are closed.
    Closed,
}

impl Users {
    /// Finds the uid of a name.
    ///
    /// # Errors
    /// The system could not be asked.
    pub(super) fn find(&self, name: &str) -> nix::Result<Lookup> {
        let mut known = self.lock();
        if known.is_closed {
            let uid = known.uids.get(name);
            return Ok(uid.map_or(Lookup::Closed, |uid| Lookup::Found(*uid)));
        }
        let Some(user) = nix::unistd::User::from_name(name)? else {
            return Ok(Lookup::Absent);
        };
        let uid = user.uid.as_raw();
        known.uids.insert(name.to_owned(), uid);
        Ok(Lookup::Found(uid))
    }

    /// Stops lookups: from now on only remembered names are found.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }

    fn lock(&self) -> MutexGuard<'_, KnownUsers> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_remembered_and_new_names_are_not_looked_up_after_close() {
        let users = Users::default();
        assert!(matches!(users.find("root"), Ok(Lookup::Found(0))));
        assert!(matches!(users.find("no-such-user"), Ok(Lookup::Absent)));
        users.clone().close();
        assert!(matches!(users.find("root"), Ok(Lookup::Found(0))));
        assert!(matches!(users.find("no-such-user"), Ok(Lookup::Closed)));
        for uid in [0, 65534, u32::MAX] {
            let owner = Owner::NotKnownSinceStart;
            assert!(owner.mismatch(uid, "owns it").is_some(), "{uid}");
        }
    }
}
