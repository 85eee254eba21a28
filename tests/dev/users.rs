//! Mounting as an ordinary user.

use super::*;

/// Mounts as the user 65534 where /dev/fuse is for everybody, as it is on other machines, and
/// does things with it; says what went wrong.
const SCRIPT: &str = r#"
set -eu
cd "$1"
cp "$2" ferryfs
mknod fuse c 10 229
chmod 666 fuse
mount --bind fuse /dev/fuse
as_user() { timeout 30 setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
fail() { echo "$1" && exit 1; }
mounted() { grep -q " $PWD/at " /proc/self/mounts; }
echo here >source/file

as_user ./ferryfs mount --daemonize "$PWD/source" "$PWD/at" 2>log
grep " $PWD/at " /proc/self/mounts | grep -q user_id=65534
[ "$(as_user cat at/file)" = here ]
as_user sh -c 'echo mine >at/mine'
[ "$(stat -c %u source/mine)" = 65534 ]
[ "$(as_user stat -c %u at/mine)" = 65534 ]
if ls at 2>/dev/null; then fail "others may use it"; fi
as_user fusermount3 -u at
if mounted; then fail "still mounted"; fi

as_user ./ferryfs mount --daemonize --auto-unmount "$PWD/source" "$PWD/at" 2>log
kill -9 "$(pgrep -o -f "ferryfs mount --daemonize --auto-unmount $PWD/source")"
for _ in $(seq 100); do mounted || break; sleep 0.1; done
if mounted; then fail "not unmounted"; fi

as_user ./ferryfs mount --daemonize "$PWD/source" "$PWD/at" 2>log
kill -9 "$(pgrep -o -f "ferryfs mount --daemonize $PWD/source")"
mounted
as_user fusermount3 -u at
if mounted; then fail "still mounted"; fi

chown 0:0 at
code=0
as_user ./ferryfs mount "$PWD/source" "$PWD/at" 2>log || code=$?
[ $code = 2 ]
[ "$(grep -c "^ferryfs: " log)" = 1 ]
grep -q "^ferryfs: MOUNTPOINT: fusermount3: " log
if mounted; then fail "still mounted"; fi
"#;

#[test]
fn an_ordinary_user_mounts_unmounts_and_cleans_up_by_the_helper() {
    let test = "an_ordinary_user_mounts_unmounts_and_cleans_up_by_the_helper";
    if cannot_mount(test) {
        return;
    }
    if !Path::new("/usr/bin/fusermount3").exists() {
        skip(test, "fusermount3 is missing: install fuse3");
        return;
    }
    let folders = Folders::new();
    let mode = |path: PathBuf, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path, mode).unwrap();
    };
    mode(folders.folder.path().to_owned(), 0o755);
    mode(folders.source(), 0o777);
    std::os::unix::fs::chown(folders.at(), Some(65534), Some(65534)).unwrap();
    // A mount table of its own: nothing of this is seen outside, or left.
    let mut command = Command::new("timeout");
    command.args(["60", "unshare", "--mount", "sh", "-exc", SCRIPT, "sh"]);
    command.arg(folders.folder.path()).arg(FERRYFS);
    let mut process = Process::start(command).unwrap();
    let status = process.wait(2 * LONG).unwrap();
    let log = fs::read_to_string(folders.path("log")).unwrap_or_default();
    assert!(status.success(), "{}\nlog: {log}", process.stderr());
}
