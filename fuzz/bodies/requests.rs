//! Requests that may be anything, in pieces of any length, to a file system that shows what it is
//! asked.

use ferryfs::fuse::abi::OutHeader;
use ferryfs::fuse::{Carrier, Opcode, Served, Session, Wait};
use zerocopy::FromBytes;

use super::support::echo::Echo;
use super::support::requests::{init, one_of_each};
use super::support::{HEADER, serve_cut};

/// A session: whether it begins by itself, and then requests, each with how both of its sides are
/// cut, the room for the reply, and its own length.
pub fn requests(input: &[u8]) {
    let Some((options, mut rest)) = input.split_first() else { return };
    let session = Session::new(Echo::default(), Carrier::VIRTIO);
    if options & 1 == 0 {
        serve_cut(&session, &init(), 256, (&[], &[]));
    }
    while let Some((head, tail)) = rest.split_first_chunk::<6>() {
        let [cut, other, room_low, room_high, low, high] = *head;
        let room = usize::from(u16::from_le_bytes([room_low, room_high]));
        let len = usize::from(u16::from_le_bytes([low, high])).min(tail.len());
        let (request, after) = tail.split_at(len);
        rest = after;
        let cuts = (usize::from(cut).min(len), usize::from(other).min(room));
        let (served, reply) = serve_cut(&session, request, room, (&[cuts.0], &[cuts.1]));
        match served {
            Served::Reply(len) => {
                let (head, _) = OutHeader::read_from_prefix(&reply).unwrap();
                assert_eq!(head.len, len);
                assert!(len as usize >= HEADER && len as usize <= room);
                assert!((-511..=0).contains(&head.error), "{}", head.error);
                assert!(head.error == 0 || len as usize == HEADER);
                let unique = request.get(8..16).filter(|_| request.len() >= 40);
                assert_eq!(head.unique.to_ne_bytes(), unique.unwrap_or(&[0; 8]));
            }
            Served::Silent => assert!(reply.iter().all(|byte| *byte == 0xee)),
            Served::Unanswerable => assert!(room < HEADER),
            Served::Later(wait) => {
                let opcode = request.get(4..8).unwrap();
                assert_eq!(
                    (wait, opcode),
                    (Wait::Event, &(Opcode::Setlkw as u32).to_ne_bytes()[..])
                );
            }
        }
    }
}

/// One request of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let framed = |request: &[u8]| {
        let len = u16::try_from(request.len()).unwrap().to_le_bytes();
        [&[40, 16, 0, 2], &len[..], request].concat()
    };
    let each: Vec<_> = one_of_each().iter().map(|(_, request)| framed(request)).collect();
    let mut seeds: Vec<_> = each.iter().map(|one| [&[0], &one[..]].concat()).collect();
    seeds.push([&[1], &framed(&init())[..], &each[0]].concat());
    seeds.push([&[0], &each[..8].concat()[..]].concat());
    seeds
}
