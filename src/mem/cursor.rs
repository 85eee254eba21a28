//! Walking the segments of a request ([`Input`]) and of its reply ([`Output`]).

use zerocopy::{Immutable, IntoBytes};

use super::segment::Segment;

/// The message ended before what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short;

/// A window of `len` bytes over `segments`, whose first `skip` bytes are behind us.
///
/// Invariants: `skip` is less than the first segment's length unless `len` is 0, and the
/// segments hold at least `skip + len` bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    segments: &'a [Segment<'a>],
    skip: usize,
    len: usize,
}

impl<'a> Cursor<'a> {
    fn new(segments: &'a [Segment<'a>]) -> Self {
        let len = segments.iter().map(Segment::len).sum();
        let mut cursor = Cursor { segments, skip: 0, len };
        cursor.normalise();
        cursor
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(super) fn advance(&mut self, count: usize) {
        assert!(count <= self.len);
        self.len -= count;
        self.skip += count;
        self.normalise();
    }

    fn normalise(&mut self) {
        while let Some((first, rest)) = self.segments.split_first()
            && self.skip >= first.len()
        {
            self.skip -= first.len();
            self.segments = rest;
        }
    }

    /// The runs that the window covers, in order, each cut to the window.
    pub(super) fn runs(&self) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        let (mut skip, mut left) = (self.skip, self.len);
        self.segments.iter().map_while(move |segment| {
            if left == 0 {
                return None;
            }
            let len = (segment.len() - skip).min(left);
            let run = segment.part(skip, len);
            (skip, left) = (0, left - len);
            Some(run)
        })
    }

    fn split_off(&mut self, count: usize) -> Result<Self, Short> {
        if count > self.len {
            return Err(Short);
        }
        let mut head = *self;
        head.truncate(count);
        self.advance(count);
        Ok(head)
    }
}

/// What the other side sent: bytes are taken off the front, each exactly once.
#[derive(Debug)]
pub struct Input<'a> {
    pub(super) rest: Cursor<'a>,
}

impl<'a> Input<'a> {
    /// All bytes of `segments`, in order.
    #[must_use]
    pub fn new(segments: &'a [Segment<'a>]) -> Self {
        Input { rest: Cursor::new(segments) }
    }

    /// Bytes not yet taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// True if everything was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything behind the next `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.rest.truncate(len);
    }

    /// Copies the next `into.len()` bytes out.
    ///
    /// # Errors
    /// [`Short`], with nothing taken, if fewer are left.
    pub fn take(&mut self, into: &mut [u8]) -> Result<(), Short> {
        let mut left = into;
        for run in self.rest.split_off(left.len())?.runs() {
            let (now, later) = left.split_at_mut(run.len());
            run.copy_out(now);
            left = later;
        }
        Ok(())
    }
}

/// Where the answer goes: bytes are put at the front, and it knows how many were.
#[derive(Debug)]
pub struct Output<'a> {
    pub(super) rest: Cursor<'a>,
    pub(super) filled: usize,
}

impl<'a> Output<'a> {
    /// Room for as many bytes as `segments` hold, in order.
    #[must_use]
    pub fn new(segments: &'a [Segment<'a>]) -> Self {
        Output { rest: Cursor::new(segments), filled: 0 }
    }

    /// Bytes that can still be put.
    #[must_use]
    pub fn room(&self) -> usize {
        self.rest.len()
    }

    /// Bytes put so far.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Gives up the room behind the next `room` bytes.
    pub fn truncate(&mut self, room: usize) {
        self.rest.truncate(room);
    }

    /// Cuts the first `count` bytes of room off, to be filled by themselves.
    ///
    /// # Errors
    /// [`Short`] if there is less room; nothing is cut then.
    pub fn split_off(&mut self, count: usize) -> Result<Output<'a>, Short> {
        Ok(Output { rest: self.rest.split_off(count)?, filled: 0 })
    }

    /// Puts `bytes`.
    ///
    /// # Errors
    /// [`Short`], with nothing put, if there is less room.
    pub fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), Short> {
        let mut left = bytes;
        for run in self.rest.split_off(bytes.len())?.runs() {
            let (now, later) = left.split_at(run.len());
            run.copy_in(now);
            left = later;
        }
        self.filled += bytes.len();
        Ok(())
    }

    /// Counts the next `count` bytes as put: somebody else has put them there.
    ///
    /// # Errors
    /// [`Short`], with nothing counted, if there is less room.
    pub fn has_got(&mut self, count: usize) -> Result<(), Short> {
        self.rest.split_off(count)?;
        self.filled += count;
        Ok(())
    }

    /// Puts a wire struct.
    ///
    /// # Errors
    /// [`Short`], with nothing put, if there is less room.
    pub fn put<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<(), Short> {
        self.put_bytes(value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `with` with the 10 bytes of `bytes` cut into every possible set of runs.
    fn every_cut(bytes: [u8; 10], mut with: impl FnMut(&[Segment<'_>]) -> Option<[u8; 10]>) {
        for cuts in 0u32..1 << 9 {
            let mut copy = bytes;
            let mut runs = Vec::new();
            let mut rest = &mut copy[..];
            let mut len = 1;
            for at in 0..10 {
                if at == 9 || cuts >> at & 1 == 1 {
                    let (run, later) = rest.split_at_mut(len);
                    runs.push(Segment::from(run));
                    (rest, len) = (later, 0);
                }
                len += 1;
            }
            if let Some(expected) = with(&runs) {
                assert_eq!(copy, expected, "cuts {cuts:b}");
            }
        }
    }

    #[test]
    fn taking_gives_the_same_bytes_however_they_are_cut() {
        every_cut([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], |runs| {
            let mut input = Input::new(runs);
            let (mut a, mut b) = ([0; 3], [0; 6]);
            input.take(&mut a).unwrap();
            input.truncate(6);
            assert_eq!(input.take(&mut [0; 7]), Err(Short));
            input.take(&mut b).unwrap();
            assert_eq!((a, b, input.len()), ([0, 1, 2], [3, 4, 5, 6, 7, 8], 0));
            None
        });
    }

    #[test]
    fn a_head_split_off_is_filled_after_the_body() {
        every_cut([0; 10], |runs| {
            let mut body = Output::new(runs);
            let mut head = body.split_off(4).unwrap();
            body.put_bytes(&[5, 6]).unwrap();
            assert_eq!(body.put_bytes(&[9; 5]), Err(Short));
            body.put_bytes(&[7]).unwrap();
            head.put_bytes(&[1, 2, 3, 4]).unwrap();
            assert_eq!((head.room(), body.room(), body.filled()), (0, 3, 3));
            Some([1, 2, 3, 4, 5, 6, 7, 0, 0, 0])
        });
    }

    #[test]
    fn no_segments_are_an_empty_message() {
        assert_eq!(Input::new(&[]).take(&mut [0]), Err(Short));
        assert_eq!(Output::new(&[]).put_bytes(&[0]), Err(Short));
        assert!(Output::new(&[]).split_off(16).is_err());
    }

    /// Lengths of the runs of a message: every list of up to four that have up to two bytes.
    fn layouts() -> Vec<Vec<usize>> {
        let mut all = vec![Vec::new()];
        let mut begun = 0;
        for _ in 0..if cfg!(miri) { 2 } else { 4 } {
            let longer = all[begun..].iter().flat_map(|list| {
                [0, 1, 2].map(|len| list.iter().copied().chain([len]).collect::<Vec<usize>>())
            });
            let longer: Vec<_> = longer.collect();
            begun = all.len();
            all.extend(longer);
        }
        all
    }

    /// What can be done to a message, with a number of bytes.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Step {
        Next(usize),
        Truncate(usize),
        Split(usize),
    }

    /// Every three steps of these kinds, with up to five bytes each.
    fn every_three(kinds: &[fn(usize) -> Step], mut with: impl FnMut(&[Step; 3])) {
        let steps: Vec<_> = (0..if cfg!(miri) { 2 } else { 6 })
            .flat_map(|n| kinds.iter().map(move |kind| kind(n)))
            .collect();
        for &a in &steps {
            for &b in &steps {
                steps.iter().for_each(|&c| with(&[a, b, c]));
            }
        }
    }

    /// The same message in one run.
    struct Flat {
        bytes: Vec<u8>,
        window: std::ops::Range<usize>,
    }

    impl Flat {
        fn new(bytes: Vec<u8>) -> Self {
            Flat { window: 0..bytes.len(), bytes }
        }

        fn next(&mut self, count: usize) -> Result<std::ops::Range<usize>, Short> {
            let start = self.window.start;
            if count > self.window.len() {
                return Err(Short);
            }
            self.window.start += count;
            Ok(start..start + count)
        }

        fn truncate(&mut self, len: usize) {
            self.window.end = self.window.end.min(self.window.start + len);
        }
    }

    fn cut<'a>(mut bytes: &'a mut [u8], layout: &[usize]) -> Vec<Segment<'a>> {
        let runs = layout.iter().map(|len| {
            let (run, rest) = std::mem::take(&mut bytes).split_at_mut(*len);
            bytes = rest;
            Segment::from(run)
        });
        runs.collect()
    }

    #[test]
    fn whatever_is_taken_is_as_from_one_run() {
        for layout in layouts() {
            let mut bytes: Vec<u8> = (1..).take(layout.iter().sum()).collect();
            let mut flat = Flat::new(bytes.clone());
            let whole = flat.window.clone();
            let runs = cut(&mut bytes, &layout);
            every_three(&[Step::Next, Step::Truncate], |steps| {
                let mut input = Input::new(&runs);
                flat.window = whole.clone();
                for step in steps {
                    match *step {
                        Step::Next(count) => {
                            let mut taken = vec![0; count];
                            let result = input.take(&mut taken);
                            let expected = flat.next(count);
                            assert_eq!(result.is_ok(), expected.is_ok());
                            let expected =
                                expected.map_or(vec![0; count], |at| flat.bytes[at].to_vec());
                            assert_eq!(taken, expected, "{layout:?} {steps:?}");
                        }
                        Step::Truncate(len) | Step::Split(len) => {
                            input.truncate(len);
                            flat.truncate(len);
                        }
                    }
                    assert_eq!(input.len(), flat.window.len(), "{layout:?} {steps:?}");
                }
            });
        }
    }

    #[test]
    fn whatever_is_put_is_as_into_one_run() {
        for layout in layouts() {
            let room = layout.iter().sum();
            every_three(&[Step::Next, Step::Truncate, Step::Split], |steps| {
                let (mut bytes, mut flat) = (vec![0; room], Flat::new(vec![0; room]));
                let runs = cut(&mut bytes, &layout);
                let (mut output, mut heads, mut filled) = (Output::new(&runs), Vec::new(), 0);
                for (value, step) in (1..).zip(steps) {
                    match *step {
                        Step::Next(count) => {
                            let expected = flat.next(count);
                            assert_eq!(
                                output.put_bytes(&vec![value; count]).is_ok(),
                                expected.is_ok()
                            );
                            filled += expected.as_ref().map_or(0, ExactSizeIterator::len);
                            flat.bytes[expected.unwrap_or_default()].fill(value);
                        }
                        Step::Truncate(len) => {
                            output.truncate(len);
                            flat.truncate(len);
                        }
                        Step::Split(count) => match (output.split_off(count), flat.next(count)) {
                            (Ok(head), Ok(at)) => heads.push((head, at)),
                            (head, at) => assert!(head.is_err() && at.is_err()),
                        },
                    }
                    let found = (output.room(), output.filled());
                    assert_eq!(found, (flat.window.len(), filled), "{layout:?} {steps:?}");
                }
                for (mut head, at) in heads {
                    assert_eq!(head.put_bytes(&vec![9; at.len() + 1]), Err(Short));
                    head.put_bytes(&vec![9; at.len()]).unwrap();
                    flat.bytes[at].fill(9);
                }
                assert_eq!(bytes, flat.bytes, "{layout:?} {steps:?}");
            });
        }
    }
}
