//! Plans at their edges. The fuzzers compare them with a naive model.

use super::*;

const PAGES: u64 = 32;
const SIZE: u64 = PAGES * PAGE;

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
