//! The worker and the checker of the guest tests: one static program, which runs in guests and on
//! the host. What it does follows from a seed or is written here, so that the side that did not
//! do it can check it.
//!
//! It prints a line for each failure, and exits with 0 only if there was none.

mod attributes;
mod cases;
mod changes;
mod content;
mod contents;
mod failures;
mod hold;
mod lines;
mod mapped;
mod names;
mod survey;
mod sys;
mod tree;
mod turn;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: probe COMMAND ARGUMENT...

  make DIR SEED COUNT        makes a tree with COUNT regular files
  verify DIR SEED COUNT      checks such a tree, and that nothing else is in it
  copied DIR SEED COUNT      checks a copy, of which only files keep their times
  fill FILE SEED SIZE        makes a file
  same FILE SEED SIZE        checks such a file
  mapped FILE SEED SIZE      checks such a file through memory
  store FILE SEED SIZE       fills a file that is there through memory
  share FILE TURN            stores in memory what the other side sees, and the other way round
  shared FILE                the other side of that
  orphan FILE SEED SIZE      checks it through memory while the daemon is killed
  direct FROM FILE TO        copies past the cache, by way of FILE in memory
  resize FILE SEED SIZE      makes such a file longer and shorter while it is in memory
  time FILE HOW COUNT        uses pages by pread, mmap, scan, copy, touch or read; prints ns a page
  lines FILE COUNT WORD...   checks that FILE has the lines `WORD 0`, `WORD 1`, ... and no other
  survey DIR FILE            writes down what is in DIR, with attributes
  surveyed DIR FILE          checks that DIR looks the same from here
  act DIR                    does everything once that a file system can do
  check DIR                  checks what came of that
  offer DIR                  makes what the next one maps
  hold DIR TURN              keeps files open and mapped over a turn
  held DIR                   checks them meanwhile
  before DIR                 makes what the next but one changes
  watch DIR TURN             looks at it, and again when it may not be cached any more
  after DIR                  changes it
  turn FILE                  says that it is the other side's turn, until that makes FILE
  user DIR                   part of `act`: what a user who is not root may do
";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let text: Vec<_> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let path = |at: usize| Path::new(&args[at]);
    let number = |at: usize| args[at].to_str().unwrap().parse::<u64>().unwrap();
    failures::install_hook();
    match (text.first().copied(), args.len()) {
        (Some("make"), 4) => tree::make(path(1), number(2), number(3)),
        (Some("verify"), 4) => tree::verify(path(1), (number(2), number(3)), false),
        (Some("copied"), 4) => tree::verify(path(1), (number(2), number(3)), true),
        (Some("fill"), 4) => content::fill_file(path(1), number(2), number(3)),
        (Some("same"), 4) => content::check_file(path(1), number(2), number(3)),
        (Some("mapped"), 4) => mapped::check(path(1), number(2), number(3)),
        (Some("store"), 4) => mapped::store(path(1), number(2), number(3)),
        (Some("share"), 3) => mapped::share(path(1), path(2)),
        (Some("shared"), 2) => mapped::shared(path(1)),
        (Some("orphan"), 4) => mapped::orphan(path(1), number(2), number(3)),
        (Some("direct"), 4) => mapped::direct(path(1), path(2), path(3)),
        (Some("resize"), 4) => mapped::resize(path(1), number(2), number(3)),
        (Some("time"), 4) => mapped::time(path(1), text[2], number(3)),
        (Some("lines"), 4..) => lines::check(path(1), number(2), &text[3..]),
        (Some("survey"), 3) => survey::write(path(1), path(2)),
        (Some("surveyed"), 3) => survey::compare(path(1), path(2)),
        (Some("act"), 2) => cases::act(path(1)),
        (Some("check"), 2) => cases::check(path(1)),
        (Some("offer"), 2) => hold::offer(path(1)),
        (Some("hold"), 3) => hold::hold(path(1), path(2)),
        (Some("held"), 2) => hold::held(path(1)),
        (Some("before"), 2) => changes::before(path(1)),
        (Some("watch"), 3) => changes::watch(path(1), path(2)),
        (Some("after"), 2) => changes::after(path(1)),
        (Some("turn"), 2) => turn::take(path(1)),
        (Some("user"), 2) => attributes::as_user(path(1)),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    failures::exit_code()
}
