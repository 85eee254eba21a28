//! Mappings of a window against a naive model, page by page, and a strict front-end.

use ferryfs::dax::{Extents, Mapping, PAGE, Step};
use ferryfs::fuse::Errno;

const PAGES: u64 = 32;
const ROOM: usize = 32;
const SIZE: u64 = PAGES * PAGE;

/// A front-end by the letter: a mapping over another is refused, and so is an unmapping of
/// anything but a whole one.
#[derive(Default)]
struct FrontEnd {
    mapped: Vec<Mapping<u8>>,
    /// It refuses this many steps from now, if any.
    refuses: Option<usize>,
}

fn end(mapping: &Mapping<u8>) -> u64 {
    mapping.start + mapping.len
}

impl FrontEnd {
    /// True if it does the step.
    fn does(&mut self, step: &Step<u8>) -> bool {
        if let Some(left) = &mut self.refuses {
            if *left == 0 {
                self.refuses = None;
                return false;
            }
            *left -= 1;
        }
        match step {
            Step::Unmap { start, len } => {
                let is_it = |m: &Mapping<u8>| (m.start, m.len) == (*start, *len);
                let at = self.mapped.iter().position(is_it).expect("unmaps a whole mapping");
                self.mapped.remove(at);
            }
            Step::Map(mapping) => {
                let overlaps = |m: &Mapping<u8>| m.start < end(mapping) && mapping.start < end(m);
                assert!(!self.mapped.iter().any(overlaps), "a map over a map");
                assert!(mapping.len > 0 && end(mapping) <= SIZE);
                self.mapped.push(*mapping);
            }
        }
        true
    }
}

/// What each page shows: file, page of the file, and whether it can be written.
type Pages = [Option<(u8, u64, bool)>; ROOM];

fn pages<'a>(mappings: impl Iterator<Item = &'a Mapping<u8>>) -> Pages {
    let mut pages = [None; ROOM];
    for mapping in mappings {
        for page in 0..mapping.len / PAGE {
            let at = usize::try_from(mapping.start / PAGE + page).unwrap();
            assert_eq!(pages[at], None);
            pages[at] = Some((mapping.file, mapping.offset / PAGE + page, mapping.writable));
        }
    }
    pages
}

/// Does a plan as far as the front-end goes along; true if that is to its end.
fn follow(extents: &mut Extents<u8>, front_end: &mut FrontEnd, plan: Vec<Step<u8>>) -> bool {
    plan.into_iter().all(|step| {
        let done = front_end.does(&step);
        if done {
            extents.record(step);
        }
        done
    })
}

/// A budget, and then five bytes a request: where, how much, of what, from where, and how.
pub fn extents(input: &[u8]) {
    let Some((budget, rest)) = input.split_first() else { return };
    let budget = 4 + usize::from(budget % 20);
    let mut extents = Extents::new(SIZE, budget);
    let mut front_end = FrontEnd::default();
    for [at, much, what, offset, how] in rest.as_chunks().0 {
        let before = pages(front_end.mapped.iter());
        let start = u64::from(*at) % PAGES;
        let len = 1 + u64::from(*much) % (PAGES - start).min(8);
        let (start, len) = (start * PAGE, len * PAGE);
        front_end.refuses = (what >> 2 > 50).then_some(usize::from(what >> 2) % 4);
        // Often where it was before, so that some of it is there already.
        let offset = if how & 1 == 0 { start } else { u64::from(offset % 8) * PAGE };
        let wish = Mapping { start, len, file: what % 3, offset, writable: how & 2 == 0 };
        let cut = (how & 4 != 0).then_some(u64::from(how >> 3) * PAGE);
        let maps = at >> 5 < 6;
        let plan = if maps { extents.map(&wish, cut) } else { extents.unmap(start, len) };
        let followed = match plan {
            Ok(plan) => follow(&mut extents, &mut front_end, plan),
            Err(error) => {
                assert!(error == Errno::ENOMEM || (error == Errno::EACCES && wish.writable));
                false
            }
        };
        let after = pages(front_end.mapped.iter());
        assert_eq!(pages(extents.iter()), after);
        assert!(front_end.mapped.len() <= budget);
        if !followed {
            continue;
        }
        for (page, (was, is)) in (0..).zip(before.iter().zip(after)) {
            let at = page * PAGE;
            if at < start || at >= start + len {
                assert_eq!(is, *was, "outside of what was asked");
            } else if maps {
                let (file, page, writable) = is.expect("mapped");
                let expected = (wish.file, (wish.offset + (at - start)) / PAGE);
                assert_eq!((file, page), expected);
                assert!(writable || !wish.writable);
            } else {
                assert_eq!(is, None);
            }
        }
    }
    let plan = extents.unmap(0, u64::MAX).unwrap();
    front_end.refuses = None;
    assert!(follow(&mut extents, &mut front_end, plan));
    assert!(front_end.mapped.is_empty() && extents.is_empty());
}

/// Requests without a pattern.
pub fn seeds() -> Vec<Vec<u8>> {
    let byte = |seed: u32, at: u32| {
        let number = (seed * 1009 + at).wrapping_mul(0x9e37_79b9);
        u8::try_from((number ^ number >> 15).wrapping_mul(0x85eb_ca6b) >> 24).unwrap()
    };
    (0..40).map(|seed| (0..301).map(|at| byte(seed, at)).collect()).collect()
}
