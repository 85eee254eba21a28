//! A request in guest memory, cut into segments.

use std::sync::Arc;

use ferryfs::fuse::Errno;
use ferryfs::fuse::abi::{InHeader, OutHeader};
use zerocopy::IntoBytes;

use crate::client::Caller;
use crate::error::{Error, Result};
use crate::memory::{PAGE_LEN, Region};
use crate::ring::Span;

/// How the bytes of a request, and the room for its reply, are cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As Linux does it: one segment for the header, one for all arguments, and pages for data.
    /// No page touches the one before it.
    Linux,
    /// The same, with data that starts at this offset in its first page, like direct I/O.
    PagesAt(u16),
    /// One segment for everything.
    Whole,
    /// Segments of these lengths, over and over, that do not touch one another.
    Runs(&'static [usize]),
}

/// A request, as the parts of the guest's kernel see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// What is asked for.
    pub opcode: u32,
    /// The inode that it is about.
    pub node: u64,
    /// Who asks.
    pub caller: Caller,
    /// What follows the header.
    pub args: &'a [&'a [u8]],
    /// What follows the arguments, a multiple of 8 bytes.
    pub extensions: &'a [u8],
    /// What follows those, in pages.
    pub data: &'a [u8],
    /// Room behind the reply's header.
    pub reply: usize,
    /// Room behind that, in pages.
    pub reply_data: usize,
}

/// Memory for one request at a time and its reply. Filling it again allocates nothing.
pub struct Frame {
    region: Arc<Region>,
    layout: Layout,
    request: Area,
    reply: Area,
}

/// Memory for one direction.
struct Area {
    start: u64,
    /// Bytes that can be laid out in it, however they are cut.
    room: usize,
    spans: Vec<Span>,
}

const HEAD: usize = size_of::<InHeader>();
const REPLY_HEAD: usize = size_of::<OutHeader>();

impl Frame {
    /// Room for requests and replies of at most that many bytes with their headers.
    ///
    /// # Errors
    /// [`Error::Full`] if `region` has no such room.
    pub fn new(
        region: &Arc<Region>,
        layout: Layout,
        (request, reply): (usize, usize),
    ) -> Result<Self> {
        let area = |room: usize| -> Result<Area> {
            // Holes as long as the shortest segments, and what rounding to pages takes.
            let len = (2 * room).next_multiple_of(PAGE_LEN) + 4 * PAGE_LEN;
            Ok(Area { start: region.alloc(len, PAGE_LEN)?, room, spans: Vec::new() })
        };
        let (request, reply) = (area(request)?, area(reply)?);
        Ok(Frame { region: region.clone(), layout, request, reply })
    }

    /// Cuts the requests to come another way.
    pub fn set_layout(&mut self, layout: Layout) {
        self.layout = layout;
    }

    /// Writes a request and makes room for its reply.
    ///
    /// # Errors
    /// [`Error::Full`] if it is longer than this frame was made for.
    pub fn fill(&mut self, unique: u64, request: &Request<'_>) -> Result<()> {
        let args: usize = request.args.iter().map(|arg| arg.len()).sum();
        let args = args + request.extensions.len();
        let len = HEAD + args + request.data.len();
        let Caller { uid, gid, pid } = request.caller;
        let head = InHeader {
            len: u32::try_from(len).map_err(|_| Error::Full)?,
            opcode: request.opcode,
            unique,
            nodeid: request.node,
            uid,
            gid,
            pid,
            total_extlen: u16::try_from(request.extensions.len() / 8).map_err(|_| Error::Full)?,
            padding: 0,
        };
        self.request.cut(self.layout, [HEAD, args, request.data.len()])?;
        self.reply.cut(self.layout, [REPLY_HEAD, request.reply, request.reply_data])?;
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            self.request.write(&self.region, at, bytes);
            at += bytes.len();
        };
        put(head.as_bytes());
        request.args.iter().for_each(|arg| put(arg));
        put(request.extensions);
        put(request.data);
        Ok(())
    }

    /// Writes bytes that may be anything as a request, and makes room for `reply` bytes.
    ///
    /// # Errors
    /// [`Error::Full`] if they are more than this frame was made for.
    pub fn fill_raw(&mut self, request: &[u8], reply: usize) -> Result<()> {
        let head = request.len().min(HEAD);
        self.request.cut(self.layout, [head, request.len() - head, 0])?;
        let head = reply.min(REPLY_HEAD);
        self.reply.cut(self.layout, [head, reply - head, 0])?;
        self.request.write(&self.region, 0, request);
        Ok(())
    }

    /// Gives the request that is there another unique number.
    pub fn set_unique(&self, unique: u64) {
        self.patch(8, unique.as_bytes());
    }

    /// Writes over bytes of the request that is there.
    pub(crate) fn patch(&self, at: usize, bytes: &[u8]) {
        self.request.write(&self.region, at, bytes);
    }

    /// What the device reads.
    #[must_use]
    pub fn readable(&self) -> &[Span] {
        &self.request.spans
    }

    /// What the device writes.
    #[must_use]
    pub fn writable(&self) -> &[Span] {
        &self.reply.spans
    }

    /// Fills the room for the reply with `byte`.
    pub fn fill_reply(&self, byte: u8) {
        for span in &self.reply.spans {
            self.region.fill(span.addr, span.len as usize, byte);
        }
    }

    /// The reply's header.
    #[must_use]
    pub fn reply_head(&self) -> OutHeader {
        let mut bytes = [0; REPLY_HEAD];
        self.read_reply(0, &mut bytes);
        zerocopy::transmute!(bytes)
    }

    /// Checks a reply like newer Linux does (`virtio_fs_verify_response`), and more: `used` is
    /// the length in its used element.
    ///
    /// # Errors
    /// [`Error::Device`], or the file system's error number if the reply is as it should be.
    pub fn check(&self, used: u32, unique: u64) -> Result<()> {
        if (used as usize) < REPLY_HEAD {
            return Err(Error::Device(format!("a reply of {used} bytes has no header")));
        }
        let head = self.reply_head();
        if head.len != used {
            let what = format!("{used} bytes were used, but the reply says {}", head.len);
            return Err(Error::Device(what));
        }
        if head.unique != unique {
            return Err(Error::Device(format!("a reply to {} instead of {unique}", head.unique)));
        }
        match head.error {
            0 => Ok(()),
            -511..0 if used as usize == REPLY_HEAD => {
                Err(Error::Errno(Errno::from_raw(-head.error)))
            }
            error => Err(Error::Device(format!("error {error} in a reply of {used} bytes"))),
        }
    }

    /// Copies bytes of the reply out, from its `at`th on.
    ///
    /// # Panics
    /// If the room for the reply ends before.
    pub fn read_reply(&self, at: usize, into: &mut [u8]) {
        let (len, mut done) = (into.len(), 0);
        self.reply.for_each(at, len, |addr, len| {
            self.region.read(addr, &mut into[done..done + len]);
            done += len;
        });
    }
}

impl Area {
    /// Cuts header, arguments and data into segments.
    fn cut(&mut self, layout: Layout, parts: [usize; 3]) -> Result<()> {
        let [head, args, data] = parts;
        let len = head + args + data;
        if len > self.room {
            return Err(Error::Full);
        }
        self.spans.clear();
        match layout {
            Layout::Linux => self.cut_pages(parts, 0),
            Layout::PagesAt(offset) => self.cut_pages(parts, usize::from(offset) % PAGE_LEN),
            Layout::Whole => self.push(0, len),
            Layout::Runs(lengths) => {
                let (mut at, mut left) = (0, len);
                for &length in lengths.iter().cycle() {
                    let length = length.max(1).min(left);
                    self.push(at, length);
                    // A hole of one byte, so that no two segments touch.
                    (at, left) = (at + length + 1, left - length);
                    if left == 0 {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn cut_pages(&mut self, [head, args, data]: [usize; 3], offset: usize) {
        self.push(0, head);
        self.push(PAGE_LEN, args);
        let pages = (PAGE_LEN + args).next_multiple_of(PAGE_LEN);
        let count = (offset + data).div_ceil(PAGE_LEN);
        let (mut skip, mut left) = (offset, data);
        // From the last page to the first: none follows the one before it in memory.
        for page in (0..count).rev() {
            let len = left.min(PAGE_LEN - skip);
            self.push(pages + page * PAGE_LEN + skip, len);
            (skip, left) = (0, left - len);
        }
    }

    fn push(&mut self, at: usize, len: usize) {
        if let (Ok(len @ 1..), addr) = (u32::try_from(len), self.start + at as u64) {
            self.spans.push(Span { addr, len });
        }
    }

    fn write(&self, region: &Region, at: usize, bytes: &[u8]) {
        let mut left = bytes;
        self.for_each(at, bytes.len(), |addr, len| {
            let (now, later) = left.split_at(len);
            region.write(addr, now);
            left = later;
        });
    }

    /// Calls `with` on every run of the `len` bytes from the `at`th on.
    fn for_each(&self, at: usize, len: usize, mut with: impl FnMut(u64, usize)) {
        let (mut skip, mut left) = (at, len);
        for span in &self.spans {
            if left == 0 {
                break;
            }
            let here = (span.len as usize).saturating_sub(skip).min(left);
            if here > 0 {
                with(span.addr + skip as u64, here);
            }
            skip = skip.saturating_sub(span.len as usize);
            left -= here;
        }
        assert!(left == 0, "{len} bytes at {at} are {left} too many");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(layout: Layout, data: usize) -> Vec<u32> {
        let region = Region::new(1 << 20, 1 << 20).unwrap();
        let mut frame = Frame::new(&region, layout, (100_000, 100_000)).unwrap();
        let content: Vec<u8> = (0..=250).cycle().take(data).collect();
        let request = Request { args: &[b"ab", b"c"], data: &content, ..Request::default() };
        frame.fill(6, &request).unwrap();
        let ends = frame.readable().iter().map(|span| span.addr + u64::from(span.len));
        let touch = ends.zip(&frame.readable()[1..]).any(|(end, next)| end == next.addr);
        assert!(!touch, "{layout:?}");

        let mut bytes = vec![0; HEAD + 3 + data];
        let mut at = 0;
        for span in frame.readable() {
            let len = span.len as usize;
            region.read(span.addr, &mut bytes[at..at + len]);
            at += len;
        }
        assert_eq!((at, &bytes[HEAD..HEAD + 3]), (bytes.len(), &b"abc"[..]));
        assert!(bytes[HEAD + 3..] == content, "{layout:?}");
        frame.readable().iter().map(|span| span.len).collect()
    }

    #[test]
    fn requests_are_cut_like_linux_cuts_them() {
        assert_eq!(lengths(Layout::Linux, 0), [40, 3]);
        assert_eq!(lengths(Layout::Linux, 8193), [40, 3, 4096, 4096, 1]);
        assert_eq!(lengths(Layout::PagesAt(4000), 5000), [40, 3, 96, 4096, 808]);
        assert_eq!(lengths(Layout::PagesAt(5), 10), [40, 3, 10]);
    }

    #[test]
    fn requests_are_cut_in_any_other_way() {
        assert_eq!(lengths(Layout::Whole, 90_000), [90_043]);
        assert_eq!(lengths(Layout::Runs(&[1]), 2), [1; 45]);
        assert_eq!(lengths(Layout::Runs(&[40, 7]), 20), [40, 7, 16]);
    }

    #[test]
    fn a_request_that_is_too_long_is_refused() {
        let region = Region::new(0, 1 << 20).unwrap();
        let mut frame = Frame::new(&region, Layout::Linux, (100, 100)).unwrap();
        let request = Request { data: &[0; 61], ..Request::default() };
        assert!(matches!(frame.fill(6, &request), Err(Error::Full)));
        let request = Request { reply_data: 85, ..Request::default() };
        assert!(matches!(frame.fill(6, &request), Err(Error::Full)));
    }
}
