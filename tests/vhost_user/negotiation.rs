//! What the daemon and the device offer.

use ferryfs::fuse::Errno;
use ferryfs_bench::{Guest, LINUX_6_1, LINUX_6_18, Setup};
use vhost::vhost_user::message::VhostUserProtocolFeatures as Protocol;

use super::*;

const ALWAYS: Protocol = Protocol::MQ
    .union(Protocol::LOG_SHMFD)
    .union(Protocol::REPLY_ACK)
    .union(Protocol::BACKEND_REQ)
    .union(Protocol::BACKEND_SEND_FD)
    .union(Protocol::RESET_DEVICE)
    .union(Protocol::DEVICE_STATE)
    .union(Protocol::CONFIGURE_MEM_SLOTS);

fn connect(args: &[&str]) -> (Guest, Daemon) {
    let daemon = Daemon::start(ferryfs(), args).unwrap();
    (Guest::connect(&daemon.socket(), Setup::default()).unwrap(), daemon)
}

#[test]
fn the_device_offers_what_it_can_do_and_no_more() {
    let (guest, _daemon) = connect(&[]);
    let ring = Setup::VERSION_1 | Setup::INDIRECT | Setup::EVENT_IDX;
    assert_eq!(guest.offered(), ring | Setup::PROTOCOL_FEATURES | Setup::LOG_ALL);
    assert_eq!(guest.offered_protocol(), ALWAYS);
    let (guest, _daemon) = connect(&["--tag", "t"]);
    assert_eq!(guest.offered_protocol(), ALWAYS | Protocol::CONFIG);
}

#[test]
fn there_is_a_queue_for_every_cpu_and_for_every_one_asked_for() {
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    for (args, expected) in [
        (&[][..], 1 + cpus.clamp(4, 16)),
        (&["--num-request-queues", "2"], 1 + cpus.clamp(4, 16)),
        (&["--num-request-queues", "30"], 31),
        (&["--num-request-queues", "63"], 64),
    ] {
        let (mut guest, daemon) = connect(args);
        assert_eq!(guest.queue_count().unwrap(), expected, "{args:?}");
        let last = usize::try_from(expected - 1).unwrap();
        let mut fs = guest.client(last).unwrap();
        fs.init(LINUX_6_18).unwrap();
        drop(daemon);
    }
}

#[test]
fn the_front_end_may_add_many_regions_of_memory() {
    let (mut guest, _daemon) = connect(&[]);
    assert!(guest.max_memory_slots().unwrap() >= 32);
}

#[test]
fn the_config_space_has_the_tag_and_the_number_of_queues() {
    let longest = "t".repeat(36);
    for (tag, queues) in [("my tag", 1u32), (&longest, 5), ("\u{e9}\u{1f6a2}", 63)] {
        let (mut guest, _daemon) =
            connect(&["--tag", tag, "--num-request-queues", &queues.to_string()]);
        let mut expected = [0; 48];
        expected[..tag.len()].copy_from_slice(tag.as_bytes());
        expected[36..40].copy_from_slice(&queues.to_le_bytes());
        for (offset, byte) in (0..).zip(&expected) {
            assert_eq!(guest.config(offset, 1).unwrap(), [*byte], "{tag}, at {offset}");
        }
        for len in 1..=expected.len() {
            let bytes = guest.config(0, u32::try_from(len).unwrap()).unwrap();
            assert_eq!(bytes, expected[..len], "{tag}, {len} bytes");
        }
        assert_eq!(guest.config(36, 4).unwrap(), queues.to_le_bytes());
        assert_eq!(guest.config(0, 256).unwrap()[48..], [0; 208]);
    }
}

#[test]
fn rings_run_at_once_for_a_front_end_without_protocol_features() {
    let mut setup = Setup::default();
    setup.features &= !Setup::PROTOCOL_FEATURES;
    let mut machine = Machine::with(&[], setup);
    machine.fs.init(LINUX_6_18).unwrap();
    let root = machine.fs.getattr(1, None).unwrap();
    assert_eq!(root.attr.mode & libc::S_IFMT, libc::S_IFDIR);
    machine.hiprio.forget(1, 1).unwrap();
}

#[test]
fn a_front_end_that_wants_no_acknowledgements_is_served() {
    let setup = Setup { protocol: Protocol::MQ, ..Setup::default() };
    let mut machine = Machine::with(&[], setup);
    machine.fs.init(LINUX_6_18).unwrap();
}

#[test]
fn a_session_agrees_on_what_was_offered() {
    let mut machine = Machine::with(&[], Setup::default());
    for (minor, offer) in [LINUX_6_1, LINUX_6_18, (27, 0), (35, 0x3fff_fffb), (99, u64::MAX)] {
        let reply = machine.fs.init((minor, offer)).unwrap();
        let agreed = u64::from(reply.flags) | u64::from(reply.flags2) << 32;
        assert_eq!((reply.major, reply.minor), (7, minor.min(45)));
        assert_eq!(agreed & !offer, 0, "7.{minor}");
        assert_eq!(reply.max_write, 1 << 20);
        assert_eq!(reply.max_pages, if offer == 0 { 0 } else { 256 });
        assert_eq!(reply.max_readahead, 128 << 10);
        assert_eq!(reply.time_gran, 1);
    }
    assert_eq!(machine.fs.init((26, 0)).unwrap_err(), Errno::EPROTO);
}
