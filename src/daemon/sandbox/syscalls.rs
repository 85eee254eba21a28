//! System calls that serving needs, and no others.

use libc::{c_int, c_long};

/// How a call may be made.
pub(super) enum Rule {
    /// In any way.
    Any,
    /// With one of these numbers as the argument at this index.
    OneOf(u8, &'static [u32]),
    /// With all (true) or none (false) of these bits in the argument at this index.
    Bits(u8, u32, bool),
    /// With the process's own id as the first argument.
    OwnProcess,
}

/// `_IO...` numbers of `ioctl(2)`: flags and project ids of files, and those that the standard
/// library uses.
const IOCTLS: &[u32] = &[
    0x8008_6601,
    0x4008_6602,
    0x801c_581f,
    0x401c_5820, // FS_IOC_{GET,SET}FLAGS, FS_IOC_FS{GET,SET}XATTR
    0x5401,
    0x5413,
    0x5421, // TCGETS, TIOCGWINSZ, FIONBIO
];

const PRCTLS: &[u32] = &[
    libc::PR_SET_NAME.cast_unsigned(),
    libc::PR_GET_NAME.cast_unsigned(),
    libc::PR_GET_SECUREBITS.cast_unsigned(),
    libc::PR_SET_VMA.cast_unsigned(),
];

/// How long who asks by the control socket is waited for.
const TIMEOUTS: &[u32] = &[bits(libc::SO_RCVTIMEO), bits(libc::SO_SNDTIMEO)];

const fn bits(flags: c_int) -> u32 {
    flags.cast_unsigned()
}

/// Calls that exist everywhere.
pub(super) const EVERYWHERE: &[(c_long, Rule)] = &[
    // Files and what is in them.
    (libc::SYS_close, Rule::Any),
    (libc::SYS_copy_file_range, Rule::Any),
    (libc::SYS_dup, Rule::Any),
    (libc::SYS_fallocate, Rule::Any),
    (libc::SYS_fcntl, Rule::Any),
    (libc::SYS_fdatasync, Rule::Any),
    (libc::SYS_flock, Rule::Any),
    (libc::SYS_fsync, Rule::Any),
    (libc::SYS_ftruncate, Rule::Any),
    (libc::SYS_ioctl, Rule::OneOf(1, IOCTLS)),
    (libc::SYS_lseek, Rule::Any),
    (libc::SYS_pread64, Rule::Any),
    (libc::SYS_preadv, Rule::Any),
    (libc::SYS_preadv2, Rule::Any),
    (libc::SYS_pwrite64, Rule::Any),
    (libc::SYS_pwritev, Rule::Any),
    (libc::SYS_pwritev2, Rule::Any),
    (libc::SYS_read, Rule::Any),
    (libc::SYS_readv, Rule::Any),
    (libc::SYS_sync_file_range, Rule::Any),
    (libc::SYS_syncfs, Rule::Any),
    (libc::SYS_write, Rule::Any),
    (libc::SYS_writev, Rule::Any),
    // Inodes and their names.
    (libc::SYS_faccessat, Rule::Any),
    (libc::SYS_fchdir, Rule::Any),
    (libc::SYS_fchmod, Rule::Any),
    (libc::SYS_fchmodat, Rule::Any),
    (libc::SYS_fchown, Rule::Any),
    (libc::SYS_fchownat, Rule::Any),
    (libc::SYS_fstat, Rule::Any),
    (libc::SYS_fstatfs, Rule::Any),
    (libc::SYS_getdents64, Rule::Any),
    (libc::SYS_linkat, Rule::Any),
    (libc::SYS_mkdirat, Rule::Any),
    (libc::SYS_mknodat, Rule::Any),
    (libc::SYS_name_to_handle_at, Rule::Any),
    (libc::SYS_newfstatat, Rule::Any),
    (libc::SYS_open_by_handle_at, Rule::Any),
    (libc::SYS_openat, Rule::Any),
    (libc::SYS_openat2, Rule::Any),
    (libc::SYS_readlinkat, Rule::Any),
    (libc::SYS_renameat2, Rule::Any),
    (libc::SYS_statx, Rule::Any),
    (libc::SYS_symlinkat, Rule::Any),
    (libc::SYS_umask, Rule::Any),
    (libc::SYS_unlinkat, Rule::Any),
    (libc::SYS_utimensat, Rule::Any),
    // Rings that are there already and can do nothing but read files, or carry a mount's requests.
    (libc::SYS_io_uring_enter, Rule::Any),
    // Mounts: watching for changes, in a group that is there already.
    (libc::SYS_fanotify_mark, Rule::Any),
    (libc::SYS_sched_setaffinity, Rule::Any),
    // Extended attributes.
    (libc::SYS_fgetxattr, Rule::Any),
    (libc::SYS_flistxattr, Rule::Any),
    (libc::SYS_fremovexattr, Rule::Any),
    (libc::SYS_fsetxattr, Rule::Any),
    (libc::SYS_getxattr, Rule::Any),
    (libc::SYS_lgetxattr, Rule::Any),
    (libc::SYS_listxattr, Rule::Any),
    (libc::SYS_llistxattr, Rule::Any),
    (libc::SYS_lremovexattr, Rule::Any),
    (libc::SYS_lsetxattr, Rule::Any),
    (libc::SYS_removexattr, Rule::Any),
    (libc::SYS_setxattr, Rule::Any),
    // Acting as the guest's users. Every thread has a working directory and umask of its own.
    (libc::SYS_capget, Rule::Any),
    (libc::SYS_capset, Rule::Any),
    (libc::SYS_getegid, Rule::Any),
    (libc::SYS_geteuid, Rule::Any),
    (libc::SYS_getgid, Rule::Any),
    (libc::SYS_getuid, Rule::Any),
    (libc::SYS_setgroups, Rule::Any),
    (libc::SYS_setresgid, Rule::Any),
    (libc::SYS_setresuid, Rule::Any),
    (libc::SYS_unshare, Rule::OneOf(0, &[bits(libc::CLONE_FS)])),
    // The front-end: a connection, events, and memory that is never code.
    (libc::SYS_accept4, Rule::Any),
    (libc::SYS_epoll_create1, Rule::Any),
    (libc::SYS_epoll_ctl, Rule::Any),
    (libc::SYS_epoll_pwait, Rule::Any),
    (libc::SYS_eventfd2, Rule::Any),
    (libc::SYS_getsockopt, Rule::Any),
    (libc::SYS_mmap, Rule::Bits(2, bits(libc::PROT_EXEC), false)),
    (libc::SYS_mprotect, Rule::Bits(2, bits(libc::PROT_EXEC), false)),
    (libc::SYS_mremap, Rule::Any),
    (libc::SYS_munmap, Rule::Any),
    (libc::SYS_ppoll, Rule::Any),
    (libc::SYS_recvfrom, Rule::Any),
    (libc::SYS_recvmsg, Rule::Any),
    (libc::SYS_sendmsg, Rule::Any),
    (libc::SYS_sendto, Rule::Any),
    (libc::SYS_setsockopt, Rule::OneOf(2, TIMEOUTS)),
    (libc::SYS_shutdown, Rule::Any),
    // What the libraries do for threads, memory, time and random numbers.
    (libc::SYS_brk, Rule::Any),
    (libc::SYS_clock_gettime, Rule::Any),
    (libc::SYS_clock_nanosleep, Rule::Any),
    (libc::SYS_clone, Rule::Bits(0, bits(libc::CLONE_THREAD), true)),
    (libc::SYS_exit, Rule::Any),
    (libc::SYS_exit_group, Rule::Any),
    (libc::SYS_futex, Rule::Any),
    (libc::SYS_getpid, Rule::Any),
    (libc::SYS_getrandom, Rule::Any),
    (libc::SYS_gettid, Rule::Any),
    (libc::SYS_gettimeofday, Rule::Any),
    (libc::SYS_madvise, Rule::Any),
    (libc::SYS_membarrier, Rule::Any),
    (libc::SYS_nanosleep, Rule::Any),
    (libc::SYS_prctl, Rule::OneOf(0, PRCTLS)),
    (libc::SYS_prlimit64, Rule::OneOf(0, &[0])),
    (libc::SYS_restart_syscall, Rule::Any),
    (libc::SYS_rseq, Rule::Any),
    (libc::SYS_sched_getaffinity, Rule::Any),
    (libc::SYS_sched_yield, Rule::Any),
    (libc::SYS_sysinfo, Rule::Any),
    (libc::SYS_set_robust_list, Rule::Any),
    (libc::SYS_sigaltstack, Rule::Any),
    // Signals: a panic ends in one that the process sends to itself.
    (libc::SYS_rt_sigaction, Rule::Any),
    (libc::SYS_rt_sigprocmask, Rule::Any),
    (libc::SYS_rt_sigreturn, Rule::Any),
    (libc::SYS_tgkill, Rule::OwnProcess),
];

/// Calls that only older architectures have.
#[cfg(target_arch = "x86_64")]
pub(super) const HERE: &[(c_long, Rule)] =
    &[(libc::SYS_epoll_wait, Rule::Any), (libc::SYS_poll, Rule::Any), (libc::SYS_time, Rule::Any)];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const HERE: &[(c_long, Rule)] = &[];

/// Calls that libraries try, or may come to try, and can do without: they are told that this kernel
/// does not have them. Those that are newer than libc's lists have the same number everywhere.
pub(super) const NOT_THERE: &[c_long] = &[
    452, // fchmodat2
    463, // setxattrat
    464, // getxattrat
    465, // listxattrat
    466, // removexattrat
    // Its flags are in memory, out of the filter's sight; clone(2) is used instead.
    libc::SYS_clone3,
];
