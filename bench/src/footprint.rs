//! What a daemon takes that does nothing, and one that knows many inodes.

use std::fs::{self, File};
use std::time::Duration;

use ferryfs_bench::load::{Rig, Tree};
use ferryfs_bench::{Error, Mode, ROOT};

use crate::args::Arguments;
use crate::{Failure, note};

/// Files of each directory.
const FILES: usize = 1000;

/// A table with a row for each daemon.
pub(crate) fn measure(arguments: &Arguments, inodes: usize) -> Result<String, Failure> {
    let tree = Tree::new(&arguments.memory)?;
    let dirs = inodes.div_ceil(FILES);
    for dir in 0..dirs {
        let path = tree.path().join(format!("many-{dir}"));
        fs::create_dir(&path)?;
        for file in 0..FILES {
            File::create(path.join(file.to_string()))?;
        }
    }
    let mut text = format!(
        "\nMemory and wake-ups of the daemon\n\n| daemon | idle, MiB | wake-ups in an idle second | \
         {} inodes known, MiB |\n|---|--:|--:|--:|\n",
        dirs * FILES
    );
    for daemon in &arguments.daemons {
        let mut rig = Rig::start(&daemon.command, &tree, arguments.queues)?;
        let idle = mib(rig.resident()?);
        let wakeups = rig.wakeups(Duration::from_secs(1))?;
        let many = match look_up(&mut rig, dirs) {
            Ok(()) => format!("{:.1}", mib(rig.resident()?)),
            Err(Error::Errno(errno)) => {
                note(&format!("{} cannot know {inodes} inodes: {errno}", daemon.name));
                "-".into()
            }
            Err(error) => return Err(error.into()),
        };
        text += &format!("| {} | {idle:.1} | {wakeups} | {many} |\n", daemon.name);
    }
    Ok(text)
}

fn look_up(rig: &mut Rig<'_>, dirs: usize) -> Result<(), Error> {
    let client = rig.client();
    client.mode = Mode::Spin;
    for dir in 0..dirs {
        let node = client.lookup(ROOT, format!("many-{dir}"))?.nodeid;
        for file in 0..FILES {
            client.lookup(node, file.to_string())?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "memory has less than 52 bits")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
