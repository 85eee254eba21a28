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

# finish [KNOWN]: the kernel must have had nothing to complain of but what is known.
finish() {
    dmesg | awk -v known="${1:-^$}" '$0 ~ known { skip = 40 } skip-- > 0 { next } 1' | grep -E 'WARNING:|BUG:|Oops|Call Trace|blocked for more|virtio_?fs.*(error|fail|invalid)' && failed=1
    exit "$failed"
}
