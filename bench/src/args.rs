//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};
use ferryfs_bench::Mode;
use ferryfs_bench::load::{OPERATIONS, Operation};

/// Measure virtio-fs daemons side by side: each operation on all of them in turn, round by round.
#[derive(Debug, Parser)]
#[command(name = "ferryfs-bench", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// A daemon: NAME=COMMAND, where {socket} and {share} are replaced; may be repeated, and the
    /// first is compared with the best of the others
    #[arg(long = "daemon", value_name = "NAME=COMMAND", required = true)]
    pub(crate) daemons: Vec<Contender>,

    /// What to measure, all by default; "none" for nothing
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    ops: Vec<String>,

    /// Requests in flight on each queue
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "1,8,32",
          value_parser = depth)]
    pub(crate) depth: Vec<usize>,

    /// How the guest waits for replies
    #[arg(long, value_name = "HOW", value_delimiter = ',', default_value = "poll,sleep")]
    pub(crate) wait: Vec<Wait>,

    /// Request queues, with a thread of the guest each
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) queues: usize,

    /// Rounds, of which the median is taken
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) rounds: usize,

    /// Milliseconds of each round
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) millis: u64,

    /// A directory on a file system with storage, for files that are read and written
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub(crate) storage: PathBuf,

    /// A directory on a file system in memory, for files that are made
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    pub(crate) memory: PathBuf,

    /// Also measure the memory of idle daemons, and of those that know so many inodes
    #[arg(long, value_name = "N")]
    pub(crate) inodes: Option<usize>,

    /// Write the tables here as well
    #[arg(long, value_name = "FILE")]
    pub(crate) table: Option<PathBuf>,

    /// Write all figures here
    #[arg(long, value_name = "FILE")]
    pub(crate) tsv: Option<PathBuf>,

    /// Draw the processor time per operation here
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// A daemon and how it is started.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) command: String,
}

impl FromStr for Contender {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, command) = text.split_once('=').ok_or("it is not NAME=COMMAND")?;
        Ok(Contender { name: name.into(), command: command.into() })
    }
}

/// How the guest waits for replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// By looking all the time
    Poll,
    /// For the device's interrupt
    Sleep,
}

impl Wait {
    pub(crate) fn mode(self) -> Mode {
        match self {
            Wait::Poll => Mode::Spin,
            Wait::Sleep => Mode::Block,
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wait::Poll => "poll",
            Wait::Sleep => "sleep",
        })
    }
}

/// More would not be slots of their own.
const DEEPEST: usize = 256;

fn depth(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(depth @ 1..=DEEPEST) => Ok(depth),
        _ => Err(format!("it is not between 1 and {DEEPEST}")),
    }
}

impl Arguments {
    pub(crate) fn operations(&self) -> Result<Vec<Operation>, String> {
        match &self.ops[..] {
            [] => Ok(OPERATIONS.to_vec()),
            [none] if none == "none" => Ok(Vec::new()),
            names => names.iter().map(|name| named(name)).collect(),
        }
    }
}

fn named(name: &str) -> Result<Operation, String> {
    Operation::named(name).ok_or_else(|| {
        let known: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        format!("--ops: there is no {name}; there are {}", known.join(", "))
    })
}
