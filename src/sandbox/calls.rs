//! Seccomp: which system calls the process can still make.
//!
//! All others fail with EPERM. That is enough to take their use away, and a call that a library
//! makes in a case that nobody foresaw fails one scrape rather than the whole server.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Installs the filter, which nothing can take off again.
pub(super) fn confine() -> Result<(), String> {
    let program = program().map_err(|error| error.to_string())?;
    // Of all threads, though there is one: whatever a library had started is confined too.
    seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

fn program() -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // The one way to a network: a service's socket.
    let unix = is(0, libc::AF_UNIX)?;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![unix])?]);
    // No memory becomes code.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let not_code = SeccompCondition::new(
            2,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs())),
            0,
        )?;
        rules.insert(call, vec![SeccompRule::new(vec![not_code])?]);
    }
    // Non-blocking sockets; nothing that types into a terminal.
    let ioctls = [libc::FIONBIO, libc::FIONREAD, libc::TCGETS];
    let ioctls = ioctls.map(|request| {
        let request = i32::try_from(request).unwrap_or_default();
        SeccompRule::new(vec![is(1, request)?])
    });
    let ioctls = ioctls.into_iter().collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_ioctl, ioctls);
    let arch = std::env::consts::ARCH.try_into()?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?;
    Ok(filter.try_into()?)
}

fn is(argument: u8, value: i32) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        u64::from(value.unsigned_abs()),
    )
}

/// What serving, reloading and ending take.
const ALLOWED: &[c_long] = &[
    // Connections and bytes.
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fcntl,
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
    // Files, within what Landlock leaves of them.
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
    libc::SYS_prlimit64,
    libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_rseq,
    libc::SYS_uname,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Older names of the same, which libraries still use.
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
    fn no_call_is_allowed_that_leads_out_or_looks_into_another_process() {
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
    fn the_filter_can_be_made_for_this_machine() {
        assert!(!program().unwrap().is_empty());
    }
}
