//! A daemon, its guest, and what the guest asks of it.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;
use tempfile::TempDir;

use super::forgets::Forgets;
use super::histogram::Histogram;
use super::lane::{self, Done, Slot};
use super::operations::{Builder, Operation, Site};
use super::tree::{SLOTS, Tree};
use crate::client::{Client, Mode};
use crate::error::{Error, Result};
use crate::guest::{Guest, Setup};
use crate::memory::Region;
use crate::process::Process;
use crate::queue::Queue;
use crate::requests::LINUX_6_18;
use crate::usage;

/// A daemon that is measured.
pub struct Rig<'t> {
    tree: &'t Tree,
    lanes: Vec<Client>,
    forgets: Forgets,
    region: Arc<Region>,
    // After the queues and before the daemon, which ends by itself when the guest hangs up.
    _guest: Guest,
    process: Process,
    family: Vec<u32>,
    _folder: TempDir,
}

/// An operation that is ready to run on a rig.
pub struct Load {
    slots: Vec<Vec<Slot>>,
    opened: Vec<(u64, u64)>,
    mode: Mode,
}

/// What a run has cost.
#[derive(Clone)]
pub struct Measured {
    /// Cycles, or directory entries.
    pub units: u64,
    /// All together.
    pub elapsed: Duration,
    /// Of each cycle.
    pub latency: Histogram,
    /// Processor time of all threads of the daemon.
    pub cpu: Duration,
    /// How often one of them got a processor.
    pub switches: u64,
    /// How often the guest woke the daemon.
    pub kicks: u64,
    /// How often the daemon interrupted the guest.
    pub calls: u64,
}

/// Guest memory for rings, and for requests and replies, on both sides of the hole below 4 GiB.
const MEMORY: [(u64, usize); 2] = [(0, 512 << 20), (4 << 30, 1 << 30)];

const START: Duration = Duration::from_secs(30);

#[expect(clippy::missing_errors_doc, reason = "the daemon's end, or what it does wrong")]
impl<'t> Rig<'t> {
    /// Starts the daemon that `command` says, with `{socket}` and `{share}` in its arguments
    /// replaced, and a guest with so many request queues.
    pub fn start(command: &str, tree: &'t Tree, queues: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("socket");
        let path = |path: &Path| path.display().to_string();
        let (socket_text, share) = (path(&socket), path(tree.path()));
        let mut words = command
            .split_whitespace()
            .map(|word| word.replace("{socket}", &socket_text).replace("{share}", &share));
        let program = words.next().ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(words);
        let (ours, theirs) = processors()?;
        pin(&theirs)?;
        let process = Process::start(command);
        pin(&ours)?;
        let process = process?;

        let setup = Setup { memory: MEMORY.to_vec(), ..Setup::default() };
        let mut guest = connect(&process, &socket, &setup)?;
        let forgets = Forgets::new(guest.queue(0)?)?;
        let lanes = (1..=queues).map(|index| guest.client(index));
        let mut lanes = lanes.collect::<Result<Vec<_>>>()?;
        lanes[0].init(LINUX_6_18)?;
        let agreed = lanes[0].agreed;
        lanes.iter_mut().for_each(|lane| lane.agreed = agreed);
        let region = guest.memory()[1].clone();
        let family = usage::family(process.pid());
        Ok(Rig { tree, lanes, forgets, region, _guest: guest, process, family, _folder: folder })
    }

    /// The process that was started.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A client on the first request queue.
    pub fn client(&mut self) -> &mut Client {
        &mut self.lanes[0]
    }

    /// Bytes of resident memory of the daemon, without the guest's.
    pub fn resident(&self) -> Result<u64> {
        self.family.iter().map(|pid| usage::resident(*pid)).sum()
    }

    /// How often a thread of the daemon gets a processor while there is nothing to do.
    pub fn wakeups(&self, time: Duration) -> Result<u64> {
        self.settle()?;
        let (_, before) = usage::used(&self.family)?;
        std::thread::sleep(time);
        Ok(usage::used(&self.family)?.1 - before)
    }

    /// Gets `operation` ready, `depth` times on every queue.
    pub fn prepare(&mut self, operation: &Operation, depth: usize, mode: Mode) -> Result<Load> {
        let mut load = Load { slots: Vec::new(), opened: Vec::new(), mode };
        let mut number = 0;
        for client in &mut self.lanes {
            let mut site =
                Site { client, region: &self.region, tree: self.tree, opened: &mut load.opened };
            let mut slots = Vec::new();
            let mut add = |build: Builder, count: usize, measured: bool| -> Result<()> {
                for _ in 0..count {
                    let script = build(&mut site, number % SLOTS)?;
                    slots.push(Slot::new(script, measured));
                    number += 1;
                }
                Ok(())
            };
            add(operation.build, depth, true)?;
            if let Some((build, count)) = operation.beside {
                add(build, count, false)?;
            }
            load.slots.push(slots);
        }
        Ok(load)
    }

    /// Runs it for a while.
    pub fn run(&mut self, load: &mut Load, time: Duration) -> Result<Measured> {
        self.settle()?;
        let counts = |lanes: &[Client]| {
            let all = lanes.iter().map(|lane| lane.queue().counts());
            all.fold((0, 0), |sum, one| (sum.0 + one.kicks, sum.1 + one.calls))
        };
        let (kicks, calls) = counts(&self.lanes);
        let (cpu, switches) = usage::used(&self.family)?;
        let start = Instant::now();
        let done = self.drive(load, start + time)?;
        let elapsed = start.elapsed();
        self.forgets.drain()?;
        for lane in &mut self.lanes {
            lane.queue_mut().take_calls()?;
        }
        self.settle()?;
        let (cpu_then, switches_then) = usage::used(&self.family)?;
        let (kicks_then, calls_then) = counts(&self.lanes);
        Ok(Measured {
            units: done.units,
            elapsed,
            latency: done.latency,
            cpu: cpu_then - cpu,
            switches: switches_then - switches,
            kicks: kicks_then - kicks,
            calls: calls_then - calls,
        })
    }

    /// Gives back what an operation has used.
    pub fn finish(&mut self, load: Load) -> Result<()> {
        let Load { slots, opened, .. } = load;
        drop(slots);
        for (node, fh) in opened {
            self.client().release(node, fh)?;
        }
        self.region.free_all();
        Ok(())
    }

    fn drive(&mut self, load: &mut Load, end: Instant) -> Result<Done> {
        let (forgets, mode) = (&self.forgets, load.mode);
        if let ([lane], [slots]) = (&mut self.lanes[..], &mut load.slots[..]) {
            return lane::run(lane.queue_mut(), slots, forgets, mode, end);
        }
        let lanes = self.lanes.iter_mut().map(Client::queue_mut).zip(&mut load.slots);
        let run = move |(queue, slots): (&mut Queue, &mut Vec<Slot>)| {
            lane::run(queue, slots, forgets, mode, end)
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = lanes.map(|lane| scope.spawn(move || run(lane))).collect();
            threads.into_iter().try_fold(Done::default(), |mut sum, thread| {
                let done = thread.join().map_err(|_| Error::device("a lane has panicked"))??;
                sum.units += done.units;
                sum.latency.merge(&done.latency);
                Ok(sum)
            })
        })
    }

    /// Waits until the daemon sleeps, as only then the kernel's account of its time is complete.
    /// One that polls for ever is not waited for.
    fn settle(&self) -> Result<()> {
        for _ in 0..50 {
            if usage::are_asleep(&self.family)? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Connects as soon as somebody listens: not every daemon says so.
fn connect(process: &Process, socket: &Path, setup: &Setup) -> Result<Guest> {
    let deadline = Instant::now() + START;
    loop {
        match Guest::connect(socket, setup.clone()) {
            Err(Error::Io(_)) if process.has_ended()? => {
                return Err(Error::Start(process.stderr()));
            }
            Err(Error::Io(_)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            connected => return connected,
        }
    }
}

/// Processors for the guest, and for daemons: the first that there is, and all others. With only
/// one they share it.
fn processors() -> Result<(CpuSet, CpuSet)> {
    static ALL: OnceLock<CpuSet> = OnceLock::new();
    let now = rustix::thread::sched_getaffinity(None)?;
    let all = *ALL.get_or_init(|| now);
    let Some(first) = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).filter(|_| all.count() > 1)
    else {
        return Ok((all, all));
    };
    let (mut ours, mut theirs) = (CpuSet::new(), all);
    ours.set(first);
    theirs.unset(first);
    Ok((ours, theirs))
}

fn pin(cpus: &CpuSet) -> Result<()> {
    Ok(rustix::thread::sched_setaffinity(None, cpus)?)
}
