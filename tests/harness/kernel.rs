//! Simulates kernels that lack a feature.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// The system calls that a kernel without Landlock does not have.
pub const LANDLOCK: &[c_long] = &[
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];

/// Runs an action while these system calls fail with this error, as on a kernel that lacks them.
pub fn where_calls_fail<T: Send + 'static>(
    calls: &[c_long],
    error: c_int,
    action: impl FnOnce() -> T + Send + 'static,
) -> T {
    let rules = calls.iter().map(|call| (*call, Vec::new()));
    where_rules_fail(rules.collect(), error, action)
}

/// Runs an action without IPv6 sockets, as on a kernel that was booted with `ipv6.disable=1`.
pub fn without_ipv6<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
    let family = u64::try_from(libc::AF_INET6).unwrap();
    let is_ipv6 = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family);
    let rule = SeccompRule::new(vec![is_ipv6.unwrap()]).unwrap();
    let rules = BTreeMap::from([(libc::SYS_socket, vec![rule])]);
    where_rules_fail(rules, libc::EAFNOSUPPORT, action)
}

/// Runs an action where no socket can refuse descriptors, as before Linux 6.16.
pub fn without_so_passrights<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
    const SO_PASSRIGHTS: u64 = 83;
    let is = |argument, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).unwrap()
    };
    let level = u64::try_from(libc::SOL_SOCKET).unwrap();
    let rule = SeccompRule::new(vec![is(1, level), is(2, SO_PASSRIGHTS)]).unwrap();
    let rules = BTreeMap::from([(libc::SYS_setsockopt, vec![rule])]);
    where_rules_fail(rules, libc::ENOPROTOOPT, action)
}

fn where_rules_fail<T: Send + 'static>(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    error: c_int,
    action: impl FnOnce() -> T + Send + 'static,
) -> T {
    let fail = SeccompAction::Errno(error.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, fail, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    // The filter applies only to this thread and the processes that it starts.
    let thread = std::thread::spawn(move || {
        apply_filter(&program).unwrap();
        action()
    });
    thread.join().unwrap()
}
