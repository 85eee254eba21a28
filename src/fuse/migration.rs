//! A session on its way from one daemon to another.
//!
//! ```text
//! magic  version  begun  agreed          then, if it has begun, what the file system adds
//! ```
//! All numbers are little-endian. What is loaded comes from another host: it may be anything.

use std::io::{self, Read, Write};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::abi::MINOR;
use super::filesystem::Filesystem;
use super::init::{Negotiated, foreign};
use super::session::{STARTED, Session};

/// A file system whose state can be taken to another daemon, while no request is served.
///
/// Both may take long, and end soon with any error once `given_up` is set.
pub trait Migration: Send + Sync {
    /// Writes all that the guest relies on: its inodes, and what it has open.
    ///
    /// # Errors
    /// Those of `to`, or why there is something that cannot be taken along.
    fn save(&self, to: &mut dyn Write, given_up: &AtomicBool) -> io::Result<()>;

    /// Takes over from another daemon, whose options may have been others. What is read need not
    /// come from any.
    ///
    /// # Errors
    /// Those of `from`, or what is wrong with the state; then anything may be left of it.
    fn load(&self, from: &mut dyn Read, given_up: &AtomicBool) -> io::Result<()>;
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Head {
    magic: [u8; 8],
    version: U32,
    begun: U32,
    agreed: U64,
}

const MAGIC: [u8; 8] = *b"ferryfs\0";

/// Changes with anything that another version would not understand.
const VERSION: u32 = 1;

impl<F: Filesystem> Session<F> {
    /// True if the session can be taken to another daemon.
    pub fn can_migrate(&self) -> bool {
        self.fs.migration().is_some()
    }

    /// Writes the session, which goes on here unless it is loaded elsewhere.
    ///
    /// # Errors
    /// Those of `to` and of [`Migration::save`].
    pub fn save(&self, to: &mut dyn Write, given_up: &AtomicBool) -> io::Result<()> {
        let migration = self.fs.migration().ok_or(io::ErrorKind::Unsupported)?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let agreed = self.agreed();
        let head = Head {
            magic: MAGIC,
            version: VERSION.into(),
            begun: u32::from(agreed.is_some()).into(),
            agreed: agreed.unwrap_or_default().into(),
        };
        to.write_all(head.as_bytes())?;
        if agreed.is_some() {
            migration.save(to, given_up)?;
        }
        to.flush()
    }

    /// Goes on with a session of another daemon, instead of the one that was here.
    ///
    /// # Errors
    /// Those of `from`, or why it cannot go on. Then there is no session, as before INIT.
    pub fn load(&self, from: &mut dyn Read, given_up: &AtomicBool) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.end();
        let loaded = self.take_over(from, given_up);
        match loaded {
            Ok(agreed) => self.agreed.store(agreed, Ordering::Release),
            Err(_) => self.fs.end(),
        }
        loaded.map(drop)
    }

    /// Returns what `agreed` is then.
    fn take_over(&self, from: &mut dyn Read, given_up: &AtomicBool) -> io::Result<u64> {
        let migration = self.fs.migration().ok_or(io::ErrorKind::Unsupported)?;
        let mut head = Head::new_zeroed();
        from.read_exact(head.as_mut_bytes())?;
        if head.magic != MAGIC {
            return Err(bad("it was not written by ferryfs"));
        }
        if head.version != VERSION {
            let version = head.version;
            return Err(bad(format!(
                "it has version {version}, and this ferryfs reads {VERSION}: use the same on both \
                 sides"
            )));
        }
        let agreed = head.agreed.get();
        let started = match head.begun.get() {
            0 => 0,
            _ => {
                let foreign = foreign(agreed, self.fs.wanted(), &self.carrier);
                if foreign != 0 {
                    return Err(bad(format!(
                        "the guest makes use of {foreign:#x} (INIT flags), which is off here: \
                         start both daemons with the same options"
                    )));
                }
                self.fs.start(&Negotiated { flags: agreed, minor: MINOR }).map_err(|_| {
                    bad("the guest cannot do what the options demand: start both daemons with \
                         the same")
                })?;
                migration.load(from, given_up)?;
                agreed | STARTED
            }
        };
        match from.read(&mut [0])? {
            0 => Ok(started),
            _ => Err(bad("it does not end where it should")),
        }
    }
}

fn bad(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}
