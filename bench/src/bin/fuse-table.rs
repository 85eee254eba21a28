//! Measures directories against one another, as `scripts/bench-fuse` asks: what a file system
//! costs is what the same work takes in it and in the bare directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, OFlags, fadvise};

/// Bytes of each job's file.
const FILE: u64 = 64 << 20;

/// How long one sample of a row takes.
const SAMPLE: Duration = Duration::from_millis(250);

/// Files of one round of metadata work.
const FILES: usize = 400;

/// Bytes of a small file.
const SMALL: usize = 4096;

/// A directory to measure.
struct Column {
    name: String,
    folder: PathBuf,
}

/// Reading or writing in one way.
#[derive(Clone, Copy)]
struct Data {
    write: bool,
    random: bool,
    block: usize,
    direct: bool,
    jobs: usize,
}

impl Data {
    fn all() -> impl Iterator<Item = Data> {
        (0..32u32).map(|bits| Data {
            direct: bits & 16 == 0,
            write: bits & 8 != 0,
            random: bits & 4 != 0,
            block: if bits & 2 != 0 { 1 << 20 } else { 4096 },
            jobs: if bits & 1 != 0 { 4 } else { 1 },
        })
    }

    fn name(self) -> String {
        let pick = |is, yes, no| if is { yes } else { no };
        format!(
            "{} {} {} {} {}",
            pick(self.direct, "direct", "cached"),
            pick(self.random, "random", "sequential"),
            pick(self.write, "write", "read"),
            pick(self.block == 4096, "4k", "1M"),
            pick(self.jobs == 1, "1 job", "4 jobs"),
        )
    }

    /// Bytes a second.
    fn sample(self, folder: &Path) -> io::Result<f64> {
        let started = Instant::now();
        let bytes = std::thread::scope(|scope| {
            let jobs: Vec<_> =
                (0..self.jobs).map(|job| scope.spawn(move || self.work(folder, job))).collect();
            jobs.into_iter()
                .map(|job| job.join().unwrap_or_else(|_| Err(io::Error::other("a job panicked"))))
                .sum::<io::Result<u64>>()
        })?;
        Ok(figure(bytes) / started.elapsed().as_secs_f64())
    }

    fn work(self, folder: &Path, job: usize) -> io::Result<u64> {
        let mut options = OpenOptions::new();
        options.read(!self.write).write(self.write);
        if self.direct {
            options.custom_flags(OFlags::DIRECT.bits().cast_signed());
        }
        let file = options.open(folder.join(format!("data {job}")))?;
        if !self.direct {
            // What is in the page cache is no work for the file system.
            fadvise(&file, 0, None, Advice::DontNeed)?;
            fadvise(&file, 0, None, if self.random { Advice::Random } else { Advice::Normal })?;
        }
        let mut memory = vec![1u8; self.block + 4096];
        let skip = memory.as_ptr().align_offset(4096);
        let buffer = &mut memory[skip..skip + self.block];
        let blocks = FILE / self.block as u64;
        let (mut at, mut state, mut bytes) = (0, 88_172_645_463_325_252 + job as u64, 0);
        let end = Instant::now() + SAMPLE;
        while Instant::now() < end {
            if self.random {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                at = state % blocks;
            }
            let offset = at % blocks * self.block as u64;
            match self.write {
                true => file.write_all_at(buffer, offset)?,
                false => file.read_exact_at(buffer, offset)?,
            }
            at += 1;
            bytes += self.block as u64;
            if !self.direct && !self.random && at % blocks == 0 && !self.write {
                fadvise(&file, 0, None, Advice::DontNeed)?;
            }
        }
        if self.write {
            // What was only put off counts as well.
            file.sync_data()?;
        }
        Ok(bytes)
    }
}

/// The rows of metadata work, in the order in which they are done.
const METADATA: [&str; 6] =
    ["create", "stat", "readdir (entries)", "small read", "rename", "unlink"];

/// Times for each row, in operations a second.
fn metadata(folder: &Path) -> io::Result<[f64; 6]> {
    let path = |name: usize| folder.join(format!("file {name}"));
    let moved = |name: usize| folder.join(format!("moved {name}"));
    let rate = |work: &mut dyn FnMut(usize) -> io::Result<()>| {
        let started = Instant::now();
        (0..FILES).try_for_each(work)?;
        Ok::<_, io::Error>(FILES as f64 / started.elapsed().as_secs_f64())
    };
    let content = [7; SMALL];
    let create = rate(&mut |name| File::create(path(name)).map(drop))?;
    for name in 0..FILES {
        fs::write(path(name), content)?;
    }
    let stat = rate(&mut |name| fs::metadata(path(name)).map(drop))?;
    let started = Instant::now();
    let lists = 10;
    for _ in 0..lists {
        assert!(fs::read_dir(folder)?.count() >= FILES);
    }
    let readdir = (lists * FILES) as f64 / started.elapsed().as_secs_f64();
    let mut buffer = [0; SMALL];
    let small = rate(&mut |name| File::open(path(name))?.read_exact_at(&mut buffer, 0))?;
    let rename = rate(&mut |name| fs::rename(path(name), moved(name)))?;
    let unlink = rate(&mut |name| fs::remove_file(moved(name)))?;
    Ok([create, stat, readdir, small, rename, unlink])
}

fn figure(bytes: u64) -> f64 {
    // Exact up to 2^53, which no sample reaches.
    bytes as f64
}

/// What others take of the machine can only make a sample worse: the best says most of what is
/// measured.
fn best(samples: Vec<f64>) -> f64 {
    samples.into_iter().max_by(f64::total_cmp).unwrap_or_default()
}

/// One line of the table, in the row's unit.
fn print(name: &str, unit: &str, figures: &[f64]) -> io::Result<()> {
    let mut line = format!("{name:<35} {unit:<7}");
    for figure in figures {
        line += &format!(" {figure:>12.1}");
    }
    writeln!(io::stdout(), "{line}")
}

fn header<'a>(columns: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let mut line = format!("{:<35} {:<7}", "", "");
    for name in columns {
        line += &format!(" {name:>12}");
    }
    writeln!(io::stdout(), "{line}")
}

/// Measures all columns in turn, again and again, so that what disturbs one disturbs all.
fn rounds<const N: usize>(
    columns: &[Column],
    rounds: usize,
    measure: impl Fn(&Path) -> io::Result<[f64; N]>,
) -> io::Result<Vec<[f64; N]>> {
    let mut samples = vec![vec![Vec::new(); N]; columns.len()];
    for _ in 0..rounds {
        for (column, samples) in columns.iter().zip(&mut samples) {
            let measured = measure(&column.folder).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", column.name))
            })?;
            for (sample, samples) in measured.into_iter().zip(samples) {
                samples.push(sample);
            }
        }
    }
    Ok(samples
        .into_iter()
        .map(|column| {
            let mut best = column.into_iter().map(best);
            std::array::from_fn(|_| best.next().unwrap_or_default())
        })
        .collect())
}

/// Something that is done in the source of a mount, again and again.
#[derive(Clone, Copy)]
enum Change {
    /// Other bytes in a file, of which there are as many.
    Content,
    /// A name that was not there.
    Name,
}

/// How long the mount may take to show a change: less is promised.
const SEEN: Duration = Duration::from_secs(10);

/// Milliseconds until the folder `at` shows what is done in `host`, which is the same one: half of
/// the changes are seen within the first figure, all within the second.
fn seen(change: Change, (host, at): (&Path, &Path), changes: usize) -> io::Result<[f64; 2]> {
    let mut samples = Vec::new();
    for number in 0..changes {
        let content = format!("{number:08}");
        let name = match change {
            Change::Content => "file".into(),
            Change::Name => format!("name {number}"),
        };
        // The one before is told of by then, even if it was seen before that.
        std::thread::sleep(Duration::from_millis(30));
        // Looked at before, so that what is remembered is in the way.
        let _ = fs::read(at.join(&name));
        let options = &mut OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(host.join(&name))?;
        let started = Instant::now();
        file.write_all_at(content.as_bytes(), 0)?;
        while !fs::read(at.join(&name)).is_ok_and(|seen| seen == content.as_bytes()) {
            if started.elapsed() > SEEN {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        samples.push(started.elapsed().as_secs_f64() * 1e3);
    }
    samples.sort_by(f64::total_cmp);
    let last = samples.last().copied().unwrap_or_default();
    Ok([samples.get(samples.len() / 2).copied().unwrap_or_default(), last])
}

/// The rows of changes by others, in folders that lie one in another.
fn watched(columns: &[Column], changes: usize) -> io::Result<()> {
    let [host, mount] = columns else { return Err(io::ErrorKind::InvalidInput.into()) };
    for depth in [1, 20] {
        let below: PathBuf = (0..depth).map(|level| format!("level {level}")).collect();
        fs::create_dir_all(host.folder.join(&below))?;
        for (change, name) in [(Change::Content, "content"), (Change::Name, "a new name")] {
            let folders = (host.folder.join(&below), mount.folder.join(&below));
            let figures = seen(change, (&folders.0, &folders.1), changes)?;
            print(&format!("{name}, depth {depth}"), "ms", &figures)?;
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let usage = "usage: fuse-table data|metadata ROUNDS NAME=FOLDER...\n\
                 usage: fuse-table watch CHANGES NAME=SOURCE NAME=MOUNTPOINT";
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, usage);
    let mut args = std::env::args().skip(1);
    let what = args.next().ok_or_else(bad)?;
    let times = args.next().and_then(|rounds| rounds.parse().ok()).ok_or_else(bad)?;
    let columns: Vec<Column> = args
        .map(|arg| {
            let (name, folder) = arg.split_once('=')?;
            Some(Column { name: name.into(), folder: folder.into() })
        })
        .collect::<Option<_>>()
        .ok_or_else(bad)?;
    if what == "watch" {
        header(["median", "maximum"])?;
        return watched(&columns, times);
    }
    header(columns.iter().map(|column| &*column.name))?;
    match &*what {
        "data" => {
            for column in &columns {
                for job in 0..4 {
                    let path = column.folder.join(format!("data {job}"));
                    let content = vec![1; 1 << 20];
                    let file = File::create(path)?;
                    for at in 0..FILE >> 20 {
                        file.write_all_at(&content, at << 20)?;
                    }
                }
            }
            for row in Data::all() {
                let figures = rounds(&columns, times, |folder| Ok([row.sample(folder)?]))?;
                let (unit, scale) =
                    if row.block == 4096 { ("kIO/s", 4096e3) } else { ("MB/s", 1e6) };
                let figures: Vec<_> = figures.into_iter().map(|[rate]| rate / scale).collect();
                print(&row.name(), unit, &figures)?;
            }
        }
        "metadata" => {
            let figures = rounds(&columns, times, metadata)?;
            for (row, name) in METADATA.into_iter().enumerate() {
                let figures: Vec<_> = figures.iter().map(|rates| rates[row] / 1e3).collect();
                print(name, "kop/s", &figures)?;
            }
        }
        _ => return Err(bad()),
    }
    Ok(())
}
