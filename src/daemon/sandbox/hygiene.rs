//! What a process inherits and should not have.
#![expect(unsafe_code, reason = "closes descriptors by number, and asks libc for two settings")]

use std::io;
use std::panic::PanicHookInfo;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Signal, getgroups, set_parent_process_death_signal, umask};
use rustix::thread::{CapabilitySet, capabilities, set_no_new_privs, set_thread_groups};

/// Puts right what does not depend on the kind of sandbox. Only one thread is running.
pub(super) fn clean() -> io::Result<()> {
    close_leaked()?;
    umask(Mode::from_raw_mode(0o077));
    set_no_new_privs(true)?;
    // SAFETY: a file that reaches RLIMIT_FSIZE is an error of a request, not the daemon's end.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // The library would look up the number of CPUs by a path, which may be the guest's by then.
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS)
    };
    // Not the usual one, which may look for debug information along the same kind of path.
    std::panic::set_hook(Box::new(|panic| log::error!("{}", describe(panic))));
    Ok(())
}

/// Heaps of the C library, among which threads share.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 16;

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("?");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let why = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("?");
    format!("This is a bug, please report it: thread {name:?} panicked at {at}: {why}")
}

/// Closes descriptors that came with the process by accident: all that is meant to be here was
/// opened to be closed on exec(2).
fn close_leaked() -> io::Result<()> {
    let list = std::fs::read_dir("/proc/self/fd")?;
    let numbers = list.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for fd in numbers.filter(|fd: &i32| *fd > libc::STDERR_FILENO).collect::<Vec<_>>() {
        // SAFETY: asking about a number that is no descriptor is an error, and one that would be
        // closed on exec is not closed here; nobody in this process knows of the others.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == 0 {
                libc::close(fd);
            }
        }
    }
    Ok(())
}

/// Drops supplementary groups, unless this user has no right to.
pub(super) fn drop_groups() -> io::Result<()> {
    let may = capabilities(None)?.effective.contains(CapabilitySet::SETGID);
    let dropped = if may { set_thread_groups(&[]) } else { Err(Errno::PERM) };
    match dropped {
        // Also in a user namespace that its user has made alone.
        Err(Errno::PERM) if getgroups()?.is_empty() => Ok(()),
        Err(Errno::PERM) => {
            log::info!("The daemon keeps its user's supplementary groups: it may not drop them");
            Ok(())
        }
        dropped => Ok(dropped?),
    }
}

/// The serving process ends when the one that waits for it does. A change of ids or capabilities
/// undoes this.
pub(super) fn end_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;

    use super::*;

    struct ToStderr;

    impl log::Log for ToStderr {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            // Past the harness, which keeps what others print.
            let _ = writeln!(io::stderr(), "{}: {}", record.level(), record.args());
        }

        fn flush(&self) {}
    }

    /// What a test runs in a process of its own.
    #[test]
    fn victim() {
        if std::env::var_os("FERRYFS_PANICS").is_none() {
            return;
        }
        log::set_logger(&ToStderr).unwrap();
        log::set_max_level(log::LevelFilter::Info);
        clean().unwrap();
        let work = || {
            for text in ["a literal".to_owned(), format!("{} formatted", 1)] {
                assert!(std::panic::catch_unwind(|| panic!("{text}")).is_err());
            }
            assert!(std::panic::catch_unwind(|| panic!("static")).is_err());
            assert!(std::panic::catch_unwind(|| std::panic::panic_any(7)).is_err());
        };
        let thread = std::thread::Builder::new().name("queue 7".into()).spawn(work);
        thread.unwrap().join().unwrap();
    }

    #[test]
    fn a_panic_that_is_caught_is_in_the_log() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "daemon::sandbox::hygiene::tests::victim", "--nocapture"]);
        let output = command.env("FERRYFS_PANICS", "1").output().unwrap();
        assert!(output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        let start = "ERROR: This is a bug, please report it: thread \"queue 7\" panicked at ";
        let lines: Vec<_> = said.lines().filter_map(|line| line.strip_prefix(start)).collect();
        let ends = [": a literal", ": 1 formatted", ": static", ": ?"];
        assert_eq!(lines.len(), ends.len(), "{said}");
        for (line, end) in lines.iter().zip(ends) {
            assert!(line.starts_with(file!()) && line.ends_with(end), "{line}");
        }
    }
}
