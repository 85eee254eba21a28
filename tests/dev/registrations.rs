//! Files are registered by the process that does not serve.

use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

use super::backing::mount;
use super::*;

/// The right to do nearly anything, which registering files takes.
const SYS_ADMIN: u64 = 1 << 21;

#[test]
fn files_pass_by_default_and_the_process_that_serves_has_no_right_to_register_them() {
    let test = "files_pass_by_default_and_the_process_that_serves_has_no_right_to_register_them";
    if mount(test, &["--passthrough=on"]).is_none() {
        return;
    }
    for (when, sandbox) in
        [("auto", "namespace"), ("auto", "chroot"), ("auto", "none"), ("on", "namespace")]
    {
        let args = [format!("--passthrough={when}"), format!("--sandbox={sandbox}")];
        let Some(mounted) = mount(test, &[&args[0], &args[1]]) else { return };
        assert!(mounted.passes(&mounted.at("probe")), "{args:?}");
        let status = fs::read_to_string(mounted.process.proc("status")).unwrap();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap();
        let effective = u64::from_str_radix(effective.trim(), 16).unwrap();
        assert_eq!(effective & SYS_ADMIN, 0, "{args:?}");
        assert!(!mounted.process.stderr().contains("WARN"), "{}", mounted.process.stderr());
    }
}

#[test]
fn a_process_with_ids_of_its_own_registers_nothing() {
    let test = "a_process_with_ids_of_its_own_registers_nothing";
    let maps = ["--uid-map=:0:0:65536:", "--gid-map=:0:0:65536:"];
    let Some(mounted) = mount(test, &maps) else { return };
    assert!(!mounted.passes(&mounted.at("probe")));
    assert!(!mounted.process.stderr().contains("WARN"), "{}", mounted.process.stderr());
}

#[test]
fn what_the_kernel_writes_for_others_has_no_more_rights_than_the_daemon() {
    let test = "what_the_kernel_writes_for_others_has_no_more_rights_than_the_daemon";
    // Who may not pass over permissions may not by the kernel's hand either.
    let args = ["--passthrough=on", "--modcaps=-dac_override:-dac_read_search"];
    let Some(mounted) = mount(test, &args) else { return };
    fs::write(mounted.host("file"), vec![1; 100_000]).unwrap();
    std::os::unix::fs::chown(mounted.host("file"), Some(65534), Some(65534)).unwrap();
    fs::set_permissions(mounted.host("file"), fs::Permissions::from_mode(0o444)).unwrap();
    assert!(mounted.passes(&mounted.at("file")));
    let error = File::options().write(true).open(mounted.at("file")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
}

/// Mounts a device on `at`, for a daemon that is given it.
fn device_on(at: &Path) -> File {
    let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&device);
    let data = format!("fd={number},rootmode=40000,user_id=0,group_id=0,default_permissions");
    let data = std::ffi::CString::new(data).unwrap();
    let none = rustix::mount::MountFlags::empty();
    rustix::mount::mount("x", at, "fuse.x", none, &*data).unwrap();
    device
}

/// Serves a device that is mounted on `folders` already.
fn serve(folders: &Folders, device: &File, mut command: Command) -> Process {
    let number = std::os::fd::AsRawFd::as_raw_fd(device);
    rustix::io::fcntl_setfd(device, rustix::io::FdFlags::empty()).unwrap();
    command.arg(folders.source()).arg(format!("/dev/fd/{number}"));
    let process = Process::start(command).unwrap();
    rustix::io::fcntl_setfd(device, rustix::io::FdFlags::CLOEXEC).unwrap();
    process.wait_for_line("Mounted", LONG).unwrap();
    process
}

/// Gives up a registration in somebody else's name; false if there is none by this number.
#[expect(unsafe_code, reason = "an ioctl")]
fn give_up(device: &File, id: u32) -> bool {
    const BACKING_CLOSE: libc::c_ulong = 0x4004_e502;
    let device = std::os::fd::AsRawFd::as_raw_fd(device);
    // SAFETY: it reads four bytes.
    let done = unsafe { libc::ioctl(device, BACKING_CLOSE, std::ptr::from_ref(&id)) };
    let error = std::io::Error::last_os_error().raw_os_error();
    assert!(done == 0 || error == Some(libc::ENOENT), "{error:?}");
    done == 0
}

#[test]
fn registrations_end_with_the_process_that_asked_for_them() {
    let test = "registrations_end_with_the_process_that_asked_for_them";
    if mount(test, &["--passthrough=on"]).is_none() {
        return;
    }
    for killed in [false, true] {
        // The connection outlives the daemon, as long as we have its device.
        let folders = Folders::new();
        let device = device_on(&folders.at());
        let mut command = Command::new(FERRYFS);
        command.args(["mount", "--passthrough=on", "--io-uring=off"]);
        let mut process = serve(&folders, &device, command);
        let held = File::create(folders.at().join("file")).unwrap();
        if killed {
            let serving = i32::try_from(process.serving()).unwrap();
            let serving = rustix::process::Pid::from_raw(serving).unwrap();
            rustix::process::kill_process(serving, rustix::process::Signal::KILL).unwrap();
            assert_eq!(process.wait(LONG).unwrap().code(), Some(1), "{}", process.stderr());
        }
        assert_eq!(give_up(&device, 1), !killed);
        if !killed {
            // What is open has its file for ever.
            held.write_all_at(b"x", 0).unwrap();
            assert_eq!(fs::read(folders.source().join("file")).unwrap(), b"x");
        }
        unmount(folders.at(), UnmountFlags::DETACH).unwrap();
        // Closing the file waits for nobody, as the connection ends now.
        drop((device, process));
        drop(held);
    }
}

#[test]
fn without_the_right_to_it_files_go_through_the_daemon_and_it_says_so_once() {
    let test = "without_the_right_to_it_files_go_through_the_daemon_and_it_says_so_once";
    if cannot_mount(test) {
        return;
    }
    // Mounted by us, so that the daemon needs no right but to serve.
    let folders = Folders::new();
    let device = device_on(&folders.at());
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin", FERRYFS, "mount"]);
    command.args(["--passthrough=on", "--sandbox=chroot"]);
    let process = serve(&folders, &device, command);
    drop(device);
    for name in ["one", "two", "three"] {
        fs::write(folders.at().join(name), name).unwrap();
        assert_eq!(fs::read_to_string(folders.at().join(name)).unwrap(), name);
    }
    process.wait_for_line("CAP_SYS_ADMIN", LONG).unwrap();
    let said = process.stderr();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    leave(&folders.at());
}

#[test]
fn a_daemon_whose_files_the_kernel_serves_may_be_killed_under_load() {
    let test = "a_daemon_whose_files_the_kernel_serves_may_be_killed_under_load";
    let Some(mounted) = mount(test, &["--passthrough=on"]) else { return };
    endings::killed_under_load(mounted);
}

#[test]
fn an_aborted_connection_ends_it_while_files_are_served_by_the_kernel() {
    let test = "an_aborted_connection_ends_it_while_files_are_served_by_the_kernel";
    let Some(mounted) = mount(test, &["--passthrough=on"]) else { return };
    let held = File::create(mounted.at("held")).unwrap();
    held.write_all_at(b"x", 0).unwrap();
    endings::aborted(mounted);
    drop(held);
}

#[test]
fn the_process_that_serves_may_be_killed_under_load_and_its_mount_goes() {
    let test = "the_process_that_serves_may_be_killed_under_load_and_its_mount_goes";
    let Some(mut mounted) = mount(test, &["--passthrough=on"]) else { return };
    let (at, stop) = (mounted.at("file"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // It asks for registrations all the time, until nothing is served any more.
            while fs::write(&at, vec![1; 100_000]).is_ok() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        wait_until("load", || at.exists());
        let serving = i32::try_from(mounted.process.serving()).unwrap();
        let serving = rustix::process::Pid::from_raw(serving).unwrap();
        rustix::process::kill_process(serving, rustix::process::Signal::KILL).unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(mounted.exit_code(), Some(1), "{}", mounted.process.stderr());
    assert!(!is_mounted(&mounted.folders.at()));
}
