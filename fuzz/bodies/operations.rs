//! Operations of a guest and of the host on a real directory, and on a model.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ferryfs::fuse::{Carrier, Session};
use ferryfs::passthrough::{Config, FileHandles, Passthrough, Xattrs};
use ferryfs::vhost::{self, DeviceConfig, Traffic};
use ferryfs_bench::{Guest, Setup};

use super::model::random::Random;
use super::model::world::World;

/// The first byte says how inodes are kept, and the others are choices.
pub fn operations(input: &[u8]) {
    let Some((options, choices)) = input.split_first() else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let by_name = options & 1 != 0;
    let file_handles = if by_name { FileHandles::Never } else { FileHandles::Prefer };
    let xattrs = Some(Xattrs::default());
    let config = Config { file_handles, descriptors: 32, xattrs, ..Config::default() };
    let fs = Passthrough::new(dir.path(), config).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let poll = Duration::from_micros(50);
    let device = DeviceConfig { tag: None, request_queues: 1, cpus: 1, waiting_threads: 2, poll };
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let session = Session::new(fs, Carrier::VIRTIO).into();
            vhost::serve(theirs, session, device, (&Traffic::default(), None, None))
        });
        let setup = Setup { memory: vec![(0, 8 << 20)], ..Setup::default() };
        let guest = Guest::over(ours, setup).unwrap();
        let random = Random::of_bytes(choices);
        let mut world = World::new(guest, dir.path(), String::new, by_name, random);
        let mut steps = 0;
        while !world.is_over() && steps < 400 {
            world.step();
            steps += 1;
        }
        world.compare_all();
        drop(world);
        server.join().unwrap().unwrap();
    });
}

/// Choices without a pattern.
pub fn seeds() -> Vec<Vec<u8>> {
    let byte = |seed: u32, at: u32| {
        let number = (seed * 4001 + at).wrapping_mul(0x9e37_79b9);
        u8::try_from((number ^ number >> 15).wrapping_mul(0x85eb_ca6b) >> 24).unwrap()
    };
    (0..8).map(|seed| (0..500 + 100 * seed).map(|at| byte(seed, at)).collect()).collect()
}
