//! Seccomp: the system calls that the process may still make.
//!
//! All others fail with EPERM rather than kill the process: if a library makes an unforeseen call,
//! one scrape fails instead of the server.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

use crate::io::unix_socket::SO_PASSRIGHTS;

/// Installs the filter. It cannot be removed.
pub(super) fn confine() -> Result<(), String> {
    let program = program().map_err(|error| error.to_string())?;
    // On all threads, including any that a library may have started.
    seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

fn program() -> Result<BpfProgram, seccompiler::Error> {
    let unconditional = ALLOWED.iter().map(|call| (*call, Vec::new()));
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = unconditional.collect();
    rules.extend(socket_rules()?);
    rules.extend(process_rules()?);
    let arch = std::env::consts::ARCH.try_into()?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?;
    Ok(filter.try_into()?)
}

type Rules = Vec<(c_long, Vec<SeccompRule>)>;

/// A new socket can only be a Unix stream socket. The open TCP sockets need rules too: one that
/// listens or was accepted can be shut down and then connected to another address, in the network
/// namespace that it was created in. So no call may carry a network address.
fn socket_rules() -> Result<Rules, BackendError> {
    let unix = is(0, libc::AF_UNIX)?;
    // Masked: the same argument also holds the flags of socket(2).
    let stream = masked(1, SOCKET_TYPE, libc::SOCK_STREAM)?;
    let default_protocol = is(2, 0)?;
    // A filter cannot read the address, only its length.
    let short = SeccompCondition::new(
        2,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Lt,
        MIN_NETWORK_ADDRESS_BYTES,
    )?;
    // No other flags: TCP Fast Open (MSG_FASTOPEN) connects by sending data.
    let plain = masked(3, !(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT), 0)?;
    let no_address = SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    Ok(vec![
        (
            libc::SYS_socket,
            vec![SeccompRule::new(vec![unix, stream, default_protocol])?],
        ),
        (libc::SYS_connect, vec![SeccompRule::new(vec![short])?]),
        (
            libc::SYS_sendto,
            vec![SeccompRule::new(vec![plain, no_address])?],
        ),
        (libc::SYS_setsockopt, options(SET)?),
        (libc::SYS_getsockopt, options(READ)?),
    ])
}

fn process_rules() -> Result<Rules, BackendError> {
    // No executable memory.
    let not_code = || masked(2, libc::PROT_EXEC, 0);
    // For non-blocking sockets. Not TIOCSTI, which injects input into a terminal.
    let ioctls = [libc::FIONBIO, libc::FIONREAD, libc::TCGETS];
    let ioctls = ioctls.map(|request| i32::try_from(request).unwrap_or_default());
    // Not F_SETOWN and F_SETSIG, which can send signals to another process.
    let fcntls = [
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
    ];
    let this_process = i32::try_from(std::process::id()).unwrap_or_default();
    Ok(vec![
        (libc::SYS_mmap, vec![SeccompRule::new(vec![not_code()?])?]),
        (
            libc::SYS_mprotect,
            vec![SeccompRule::new(vec![not_code()?])?],
        ),
        (libc::SYS_ioctl, any_of(1, &ioctls)?),
        (libc::SYS_fcntl, any_of(1, &fcntls)?),
        // 0 is this process.
        (libc::SYS_prlimit64, any_of(0, &[0])?),
        (libc::SYS_sched_getaffinity, any_of(0, &[0])?),
        (libc::SYS_tgkill, any_of(0, &[this_process])?),
    ])
}

/// Matches if an argument has one of these values.
fn any_of(argument: u8, values: &[i32]) -> Result<Vec<SeccompRule>, BackendError> {
    let rules = values
        .iter()
        .map(|value| SeccompRule::new(vec![is(argument, *value)?]));
    rules.collect()
}

/// Matches if the level and name of a socket option are one of these pairs.
fn options(options: &[(i32, i32)]) -> Result<Vec<SeccompRule>, BackendError> {
    let rules = options.iter();
    let rules = rules.map(|(level, name)| SeccompRule::new(vec![is(1, *level)?, is(2, *name)?]));
    rules.collect()
}

fn is(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    masked(argument, -1, value)
}

/// Matches if the bits of `mask` in an argument equal those of `value`.
fn masked(argument: u8, mask: i32, value: i32) -> Result<SeccompCondition, BackendError> {
    let (mask, value) = (
        u64::from(mask.cast_unsigned()),
        u64::from(value.cast_unsigned()),
    );
    let masked = SeccompCmpOp::MaskedEq(mask);
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, masked, value)
}

/// `SOCK_TYPE_MASK` of Linux.
const SOCKET_TYPE: i32 = 0xf;

/// The length of an IPv4 address (`struct sockaddr_in`); no network protocol has a shorter one. The
/// Unix socket paths that aegis connects to are descriptor numbers such as `9999`, which are shorter.
const MIN_NETWORK_ADDRESS_BYTES: u64 = 16;

/// Socket options that `serve` sets. TCP_FASTOPEN_CONNECT, TCP_REPAIR and SO_BINDTODEVICE must stay
/// out.
const SET: &[(i32, i32)] = &[
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::SOL_SOCKET, SO_PASSRIGHTS),
    // For kernels without SO_PASSRIGHTS.
    (libc::SOL_SOCKET, libc::SO_OOBINLINE),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
];

/// Socket options that `serve` reads.
const READ: &[(i32, i32)] = &[
    (libc::SOL_SOCKET, libc::SO_ERROR),
    (libc::SOL_SOCKET, libc::SO_PEERCRED),
];

/// System calls that serving, reloading and exiting need, with any arguments.
const ALLOWED: &[c_long] = &[
    // Connections and bytes.
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_shutdown,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_dup,
    // Waiting.
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    // Files that Landlock allows.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_getcwd,
    // Changes of files. Not inotify_init1: the one instance is created before.
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // The process itself.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_rseq,
    libc::SYS_uname,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Older variants that libraries still use.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_leave_the_sandbox_or_inspect_other_processes_are_denied() {
        for call in [
            libc::SYS_add_key,
            libc::SYS_bind,
            libc::SYS_bpf,
            libc::SYS_chroot,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_init_module,
            libc::SYS_io_uring_setup,
            libc::SYS_kexec_load,
            libc::SYS_keyctl,
            libc::SYS_kill,
            libc::SYS_listen,
            libc::SYS_memfd_create,
            libc::SYS_mount,
            libc::SYS_open_by_handle_at,
            libc::SYS_perf_event_open,
            libc::SYS_pidfd_getfd,
            libc::SYS_pivot_root,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_ptrace,
            libc::SYS_reboot,
            libc::SYS_setns,
            libc::SYS_setuid,
            libc::SYS_socketpair,
            libc::SYS_unlinkat,
            libc::SYS_unshare,
            libc::SYS_userfaultfd,
        ] {
            assert!(!ALLOWED.contains(&call), "{call}");
        }
    }

    #[test]
    fn the_filter_compiles_for_this_architecture() {
        assert!(!program().unwrap().is_empty());
    }
}
