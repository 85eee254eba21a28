# What the guests' scripts have in common.
# shellcheck shell=sh disable=SC2034
TAG=ferry
failed=0

# try COMMAND...: a failure is told, and does not keep us from the rest.
try() {
    "$@" || {
        echo "FAILED in the guest ($?): $*"
        failed=1
    }
}

# turn NAME: lets the host do something; without it there is nothing more to do.
turn() { probe turn "/mnt/turns/$1" || exit; }

# finish: the kernel must have had nothing to complain of.
finish() {
    dmesg | grep -E 'WARNING:|BUG:|Oops|Call Trace|blocked for more|virtio_?fs.*(error|fail|invalid)' && failed=1
    exit "$failed"
}
