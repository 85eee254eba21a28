//! The filter of system calls.

use std::collections::BTreeMap;

use clap::ValueEnum;
use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use super::syscalls::{EVERYWHERE, HERE, NOT_THERE, Rule};

/// What happens when a call is made that is not on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Action {
    Kill,
    Trap,
    Log,
    None,
}

impl Action {
    pub(super) fn name(self) -> &'static str {
        match self {
            Action::Kill => "kill",
            Action::Trap => "trap",
            Action::Log => "log",
            Action::None => "none",
        }
    }
}

/// Filters the calls of this thread, and of those that it will start, for ever.
pub(super) fn filter(action: Action) -> Result<(), Error> {
    let otherwise = match action {
        Action::None => return Ok(()),
        Action::Kill => SeccompAction::KillProcess,
        Action::Trap => SeccompAction::Trap,
        Action::Log => SeccompAction::Log,
    };
    let not_there = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let calls = NOT_THERE.iter().map(|call| (*call, Vec::new()));
    apply_filter(&compile(calls.collect(), SeccompAction::Allow, not_there)?)?;
    let mut calls = BTreeMap::new();
    for (call, rule) in EVERYWHERE.iter().chain(HERE) {
        calls.insert(*call, rules(rule)?);
    }
    // What the first filter answers does not get here, whatever this one says.
    calls.extend(NOT_THERE.iter().map(|call| (*call, Vec::new())));
    apply_filter(&compile(calls, otherwise, SeccompAction::Allow)?)
}

fn compile(
    calls: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, Error> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(calls, otherwise, matched, arch)?.try_into()?)
}

/// One of these has to match; any call does if there are none.
fn rules(rule: &Rule) -> Result<Vec<SeccompRule>, Error> {
    let one = |argument, op, value: u32| -> Result<SeccompRule, Error> {
        let condition = SeccompCondition::new(argument, Len::Dword, op, value.into())?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    match rule {
        Rule::Any => Ok(Vec::new()),
        Rule::OneOf(argument, values) => {
            values.iter().map(|value| one(*argument, Op::Eq, *value)).collect()
        }
        Rule::Bits(argument, bits, set) => {
            let value = if *set { *bits } else { 0 };
            Ok(vec![one(*argument, Op::MaskedEq(u64::from(*bits)), value)?])
        }
        Rule::OwnProcess => Ok(vec![one(0, Op::Eq, std::process::id())?]),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};

    use super::*;

    /// Runs one case of [`victim`] in a process of its own, under a filter.
    fn run(case: &str, action: &str) -> ExitStatus {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "daemon::sandbox::seccomp::tests::victim", "--nocapture"]);
        command.env("FERRYFS_CASE", case).env("FERRYFS_ACTION", action);
        // A core of every victim would be of no use.
        command.env("RUST_BACKTRACE", "0").output().unwrap().status
    }

    #[test]
    fn victim() {
        let Ok(case) = std::env::var("FERRYFS_CASE") else { return };
        let action = Action::from_str(&std::env::var("FERRYFS_ACTION").unwrap(), false).unwrap();
        super::super::hygiene::clean().unwrap();
        // As the harness, which goes on to live, has no filter.
        let worker = std::thread::spawn(move || {
            filter(action).unwrap();
            act(&case);
        });
        let code = if worker.join().is_ok() { 0 } else { 101 };
        std::process::exit(code);
    }

    #[expect(unsafe_code, reason = "makes the calls that are to be stopped")]
    fn act(case: &str) {
        // SAFETY: none of these calls touches memory.
        let call = |number, argument: c_long| unsafe { libc::syscall(number, argument, 0, 0) };
        match case {
            "nothing" => {}
            "panic" => drop(std::panic::catch_unwind(|| panic!("a panic"))),
            "unwind" => panic!("a panic that ends a thread"),
            "abort" => std::process::abort(),
            "thread" => std::thread::spawn(|| vec![0u8; 1 << 20]).join().map(drop).unwrap(),
            "socket" => drop(call(libc::SYS_socket, libc::AF_INET.into())),
            "fork" => drop(call(libc::SYS_clone, libc::SIGCHLD.into())),
            "exec" => drop(Command::new("/bin/true").status()),
            "kill" => drop(call(libc::SYS_kill, 0)),
            "tgkill" => drop(call(libc::SYS_tgkill, 1)),
            "unshare" => drop(call(libc::SYS_unshare, libc::CLONE_NEWUSER.into())),
            "chroot" => drop(rustix::process::chroot("/")),
            "prctl" => drop(call(libc::SYS_prctl, libc::PR_SET_DUMPABLE.into())),
            "ioctl" => drop(call(libc::SYS_ioctl, 0)),
            "newer" => {
                for number in NOT_THERE {
                    assert_eq!(call(*number, 0), -1);
                    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS));
                }
            }
            "bpf" => drop(call(libc::SYS_bpf, 0)),
            "code" => {
                let (len, rwx) = (4096, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                // SAFETY: new memory, which nobody uses.
                let at = unsafe { libc::mmap(std::ptr::null_mut(), len, rwx, flags, -1, 0) };
                assert_ne!(at, libc::MAP_FAILED);
            }
            case => panic!("{case}"),
        }
    }

    const FORBIDDEN: [&str; 11] = [
        "socket", "fork", "exec", "kill", "tgkill", "unshare", "chroot", "prctl", "ioctl", "bpf",
        "code",
    ];

    #[test]
    fn a_call_that_is_not_needed_ends_the_process() {
        for case in FORBIDDEN {
            assert_eq!(run(case, "kill").signal(), Some(libc::SIGSYS), "{case}");
        }
        assert_eq!(run("socket", "trap").signal(), Some(libc::SIGSYS));
    }

    #[test]
    fn a_call_that_is_not_needed_is_only_noted_if_asked_for() {
        for case in ["socket", "tgkill", "code"] {
            assert_eq!(run(case, "log").code(), Some(0), "{case}");
            assert_eq!(run(case, "none").code(), Some(0), "{case}");
        }
    }

    #[test]
    fn calls_that_libraries_can_do_without_are_not_there() {
        for action in ["kill", "log"] {
            assert_eq!(run("newer", action).code(), Some(0), "{action}");
        }
    }

    #[test]
    fn threads_and_panics_need_nothing_else() {
        assert_eq!(run("nothing", "kill").code(), Some(0));
        assert_eq!(run("thread", "kill").code(), Some(0));
        assert_eq!(run("panic", "kill").code(), Some(0));
        assert_eq!(run("unwind", "kill").code(), Some(101));
        assert_eq!(run("abort", "kill").signal(), Some(libc::SIGABRT));
    }
}
