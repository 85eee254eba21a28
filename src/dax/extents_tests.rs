//! Plans against a naive model of a window, page by page, and a strict front-end.

use super::*;

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
                let overlaps = |m: &Mapping<u8>| m.start < mapping.end() && mapping.start < m.end();
                assert!(!self.mapped.iter().any(overlaps), "a map over a map");
                assert!(mapping.len > 0 && mapping.end() <= SIZE);
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

/// A small generator of the same numbers every time (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

#[test]
fn whatever_is_asked_the_record_is_what_the_front_end_has() {
    for seed in 1..400 {
        let mut numbers = Numbers(seed * 0x9e37_79b9);
        let budget = 4 + usize::try_from(numbers.below(20)).unwrap();
        let mut extents = Extents::new(SIZE, budget);
        let mut front_end = FrontEnd::default();
        for _ in 0..60 {
            let before = pages(front_end.mapped.iter());
            let start = numbers.below(PAGES);
            let len = 1 + numbers.below((PAGES - start).min(8));
            let (start, len) = (start * PAGE, len * PAGE);
            front_end.refuses =
                (numbers.below(5) == 0).then(|| usize::try_from(numbers.below(4)).unwrap());
            let file = u8::try_from(numbers.below(3)).unwrap();
            // Often where it was before, so that some of it is there already.
            let offset = if numbers.below(2) == 0 { start } else { numbers.below(8) * PAGE };
            let wish = Mapping { start, len, file, offset, writable: numbers.below(2) == 0 };
            let cut = (numbers.below(3) == 0).then(|| numbers.below(40) * PAGE);
            let maps = numbers.below(3) > 0;
            let plan = if maps { extents.map(&wish, cut) } else { extents.unmap(start, len) };
            let followed = match plan {
                Ok(plan) => follow(&mut extents, &mut front_end, plan),
                Err(error) => {
                    assert!(error == Errno::ENOMEM || (error == Errno::EACCES && wish.writable));
                    false
                }
            };
            let after = pages(front_end.mapped.iter());
            assert_eq!(pages(extents.iter()), after, "seed {seed}");
            assert!(front_end.mapped.len() <= budget);
            if !followed {
                continue;
            }
            for (page, (was, is)) in (0..).zip(before.iter().zip(after)) {
                let at = page * PAGE;
                if at < start || at >= start + len {
                    assert_eq!(is, *was, "seed {seed}: outside of what was asked");
                } else if maps {
                    let (file, page, writable) = is.expect("mapped");
                    let expected = (wish.file, (wish.offset + (at - start)) / PAGE);
                    assert_eq!((file, page), expected, "seed {seed}");
                    assert!(writable || !wish.writable);
                } else {
                    assert_eq!(is, None, "seed {seed}");
                }
            }
        }
        let plan = extents.unmap(0, u64::MAX).unwrap();
        front_end.refuses = None;
        assert!(follow(&mut extents, &mut front_end, plan));
        assert!(front_end.mapped.is_empty() && extents.is_empty());
    }
}

fn wish(start: u64, len: u64, offset: u64, writable: bool) -> Mapping<u8> {
    Mapping { start: start * PAGE, len: len * PAGE, file: 7, offset: offset * PAGE, writable }
}

#[test]
fn what_is_there_already_is_left_alone() {
    let mut extents = Extents::new(SIZE, 10);
    extents.record(Step::Map(wish(4, 4, 0, true)));
    for (there, steps) in [
        (wish(4, 4, 0, true), vec![]),
        (wish(4, 4, 0, false), vec![]),
        (wish(5, 2, 1, false), vec![]),
        (wish(4, 6, 0, true), vec![Step::Map(wish(8, 2, 4, true))]),
        (wish(4, 6, 0, false), vec![Step::Map(wish(8, 2, 4, false))]),
    ] {
        assert_eq!(extents.map(&there, None), Ok(steps));
    }
    extents.record(Step::Map(wish(20, 1, 0, false)));
    assert_eq!(extents.map(&wish(20, 2, 0, true), None), Err(Errno::EACCES), "others read it");
    let other = Mapping { file: 8, ..wish(4, 4, 0, true) };
    let gone = Step::Unmap { start: 4 * PAGE, len: 4 * PAGE };
    assert_eq!(extents.map(&other, None), Ok(vec![gone, Step::Map(other)]));
}

#[test]
fn a_request_does_not_reach_across_the_cut() {
    let extents = Extents::new(SIZE, 10);
    let parts = |cut: u64| extents.map(&wish(4, 8, 100, true), Some(cut * PAGE)).unwrap();
    let both = vec![Step::Map(wish(4, 3, 100, true)), Step::Map(wish(7, 5, 103, true))];
    assert_eq!(parts(103), both);
    for outside in [0, 99, 100, 108, 109, 1 << 40] {
        assert_eq!(parts(outside), [Step::Map(wish(4, 8, 100, true))], "{outside}");
    }
}

#[test]
fn what_is_not_in_the_window_is_refused() {
    let extents = Extents::new(SIZE, 10);
    let (page, max) = (PAGE, u64::MAX);
    for (start, len, offset) in [
        (0, 0, 0),
        (1, page, 0),
        (0, 1, 0),
        (0, page + 1, 0),
        (0, page, 1),
        (0, SIZE + page, 0),
        (SIZE, page, 0),
        (SIZE - page, 2 * page, 0),
        (max - page + 1, page, 0),
        (max - page + 1, 2 * page, 0),
        (page, max - page + 1, 0),
        (0, page, max - page + 1),
        (0, page, 1 << 63),
        (0, page, (1 << 63) - page),
        (0, max, 0),
    ] {
        let wish = Mapping { start, len, file: 0, offset, writable: false };
        assert_eq!(extents.map(&wish, None), Err(Errno::EINVAL), "{wish:x?}");
        if offset == 0 && len != max {
            assert_eq!(extents.unmap(start, len), Err(Errno::EINVAL), "{wish:x?}");
        }
    }
    assert_eq!(extents.unmap(12345, max), Ok(vec![]), "all of the window");
    let last = wish(PAGES - 1, 1, (1 << 51) - 2, true);
    assert_eq!(extents.map(&last, None), Ok(vec![Step::Map(last)]));
}

#[test]
fn there_are_never_more_mappings_than_the_budget_allows() {
    let mut extents = Extents::new(SIZE, 2);
    extents.record(Step::Map(wish(0, 8, 0, true)));
    assert_eq!(extents.map(&wish(8, 4, 0, true), Some(2 * PAGE)), Err(Errno::ENOMEM));
    assert_eq!(extents.unmap(2 * PAGE, PAGE).map(|plan| plan.len()), Ok(3));
    extents.record(Step::Map(wish(8, 4, 0, true)));
    assert_eq!(extents.unmap(2 * PAGE, PAGE), Err(Errno::ENOMEM), "it would be split");
    assert_eq!(extents.unmap(0, 2 * PAGE).map(|plan| plan.len()), Ok(2));
}
