//! The `ferryfs` daemon; see the library for what it is made of.

fn main() -> std::process::ExitCode {
    ferryfs::daemon::main()
}
