//! Windows come and go, and front-ends do not always do what they are asked.

use super::*;

#[test]
fn a_refusal_is_an_error_and_leaves_the_map_true() {
    let mut guest = Windowed::new(Profile::Exact, &[]);
    let (one, _) = guest.put("one", RANGE);
    let (two, file) = guest.put("two", RANGE);
    guest.map(one, 0, 0, READ).unwrap();
    guest.window.refuse(true);
    assert_eq!(guest.map(two, 0, RANGE, READ).unwrap_err(), Errno::EIO);
    assert_eq!(guest.map(two, 0, 0, READ).unwrap_err(), Errno::EIO);
    guest.window.refuse(false);
    for at in [0, RANGE] {
        guest.map(two, 0, at, READ).unwrap();
        guest.is_shown(&file, 0, at);
    }
}

#[test]
fn a_session_begins_and_ends_with_an_empty_window() {
    for profile in PROFILES {
        let mut guest = Windowed::new(profile, &[]);
        let idle = guest.machine.descriptors();
        let (node, _) = guest.put("file", 2 * RANGE);
        let map = |guest: &mut Windowed, node| {
            guest.map(node, 0, 0, READ).unwrap();
            guest.map(node, RANGE, RANGE, READ).unwrap();
        };
        map(&mut guest, node);
        guest.machine.fs.destroy().unwrap();
        assert_eq!(guest.window.mapped(), []);
        guest.machine.fs.init(LINUX).unwrap();
        let node = guest.machine.find(ROOT, "file");
        map(&mut guest, node);
        // Without a farewell, and with a reset of which only the front-end knows.
        guest.machine.fs.init(LINUX).unwrap();
        assert_eq!(guest.window.mapped(), []);
        let node = guest.machine.find(ROOT, "file");
        map(&mut guest, node);
        guest.window.reset();
        guest.machine.fs.init(LINUX).unwrap();
        let node = guest.machine.find(ROOT, "file");
        map(&mut guest, node);
        guest.window.reset();
        guest.machine.guest.reset_device().unwrap();
        assert_eq!(guest.machine.descriptors(), idle, "descriptors of mapped files");
    }
}

#[test]
fn a_session_that_is_refused_leaves_the_other_its_window() {
    let mut guest = Windowed::new(Profile::Exact, &[]);
    let (node, file) = guest.put("file", RANGE);
    guest.map(node, 0, 0, READ).unwrap();
    let mapped = guest.window.mapped();
    assert_eq!(guest.machine.fs.init((26, 0)).unwrap_err(), Errno::EPROTO);
    assert_eq!(guest.window.mapped(), mapped);
    guest.is_shown(&file, 0, 0);
    guest.map(node, 0, RANGE, READ).unwrap();
}

#[test]
fn nothing_that_the_front_end_asks_waits_for_a_mapping() {
    for profile in PROFILES {
        let mut guest = Windowed::new(profile, &[]);
        let (node, file) = guest.put("file", 4 * RANGE);
        guest.map(node, 0, 0, READ).unwrap();
        let mut other = guest.machine.guest.client(2).unwrap();
        guest.window.hold(true);
        let Windowed { machine, window } = &mut guest;
        std::thread::scope(|scope| {
            let mapping = scope.spawn(|| other.setupmapping(node, &setup(RANGE, RANGE, READ)));
            window.wait_for_request(LONG).unwrap();
            // Others are served, and messages are answered.
            machine.fs.getattr(node, None).unwrap();
            machine.guest.give_memory().unwrap();
            machine.guest.queue_count().unwrap();
            machine.guest.stop(2).unwrap();
            assert_eq!(mapping.join().unwrap().unwrap_err(), Errno::EAGAIN);
        });
        // The front-end goes on as if nothing had been; a queue that is set up anew as well.
        window.hold(false);
        let mut other = machine.guest.client(2).unwrap();
        other.setupmapping(node, &setup(2 * RANGE, 2 * RANGE, READ)).unwrap();
        for at in [0, RANGE, 2 * RANGE] {
            other.setupmapping(node, &setup(at, at, WRITE)).unwrap();
            guest.is_shown(&file, at, at);
        }
    }
}

#[test]
fn a_reset_does_not_wait_for_a_mapping() {
    let mut guest = Windowed::new(Profile::Exact, &[]);
    let (node, _) = guest.put("file", 4 * RANGE);
    guest.map(node, 0, 0, READ).unwrap();
    guest.window.hold(true);
    let Windowed { machine: Machine { mut fs, mut guest, mut daemon, .. }, window } = guest;
    std::thread::scope(|scope| {
        let mapping = scope.spawn(|| fs.setupmapping(node, &setup(RANGE, RANGE, READ)));
        window.wait_for_request(LONG).unwrap();
        guest.reset_device().unwrap();
        // It was sent away before its queue was disabled, or had nowhere to go afterwards.
        daemon.process().signal(rustix::process::Signal::TERM).unwrap();
        assert!(mapping.join().unwrap().is_err());
    });
    assert!(daemon.process_mut().wait(LONG).unwrap().success());
}

#[test]
fn a_front_end_that_maps_nothing_has_no_window() {
    let mut machine = Machine::with(&["--dax-window=2M"], Setup::default());
    let reply = machine.fs.init(LINUX).unwrap();
    assert_eq!((reply.map_alignment, reply.flags2 >> 1 & 1), (0, 0));
    machine.put("file", "content");
    let node = machine.find(ROOT, "file");
    let refused = machine.fs.setupmapping(node, &setup(0, 0, READ)).unwrap_err();
    assert_eq!(refused, Errno::EOPNOTSUPP);
    machine.daemon.process().wait_for_line("no DAX window", LONG).unwrap();
    assert_eq!(machine.daemon.process().stderr().matches("no DAX window").count(), 1);

    let mut guest = Windowed::before_init(Profile::Exact, &[]);
    guest.window.refuse(true);
    assert_eq!(guest.machine.fs.init(LINUX).unwrap().map_alignment, 0);
    guest.machine.daemon.process().wait_for_line("no DAX window", LONG).unwrap();
}

#[test]
fn a_guest_with_a_window_is_not_taken_along_and_goes_on() {
    let mut windowed = Windowed::new(Profile::Exact, &["--dax-policy=always"]);
    let (node, file) = windowed.put("file", RANGE);
    windowed.map(node, 0, 0, READ).unwrap();
    let bases = [0, 1].map(|index| windowed.machine.guest.stop(index).unwrap());
    assert!(windowed.machine.guest.save().is_err());
    windowed.machine.daemon.process().wait_for_line("DAX window, which", LONG).unwrap();
    let Machine { hiprio, fs, guest, .. } = &mut windowed.machine;
    guest.start(hiprio.queue(), bases[0]).unwrap();
    guest.start(fs.queue(), bases[1]).unwrap();
    windowed.machine.fs.getattr(node, None).unwrap();
    windowed.is_shown(&file, 0, 0);
}
