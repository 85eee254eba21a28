# shellcheck shell=bash
# Helpers shared by the scripts of this folder; sourced, never run.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
GUESTS=${FERRY_GUESTS:-target/guests}
[[ $GUESTS = /* ]] || GUESTS=$REPO/$GUESTS
# shellcheck disable=SC2034 # used by those who source this
TREE=$GUESTS/tree # the newer Debian that holds QEMU 11 and User-Mode Linux
# A login without the sbin folders would not find modprobe and debootstrap.
PATH=$PATH:/usr/sbin:/sbin

ME=${0##*/}
say() { printf '%s: %s\n' "$ME" "$*" >&2; }
die() {
    say "$*"
    exit "${DIE_STATUS:-1}"
}

# die_of LOG WORD...: after what LOG ends with, which may go with the folder that it is in.
die_of() {
    local log=$1
    shift
    tail -n 20 "$log" 2>/dev/null | sed 's/^/  | /' >&2 || true
    die "$*"
}

# need_rust: what Cargo.toml asks for. Debian's own may be older, and would only fail later.
need_rust() {
    local wanted program found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$REPO/Cargo.toml")
    for program in cargo rustc; do
        found=$("$program" --version 2>/dev/null | cut -d ' ' -f 2) || found=none
        [[ $found != none && $(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1) = "$wanted" ]] ||
            die "Rust $wanted or newer is needed, and $program is $found here: install it from https://rustup.rs"
    done
}

# quiet LOG COMMAND...: keeps a command's chatter in LOG.
quiet() {
    local log=$1
    shift
    "$@" >>"$log" 2>&1
}

# apt_try LOG APT-COMMAND...: package lists may be missing or out of date, so
# a failure gets one `apt-get update` and a second try.
apt_try() {
    local log=$1
    shift
    quiet "$log" "$@" && return
    quiet "$log" apt-get -q -o DPkg::Lock::Timeout=600 update || return
    quiet "$log" "$@"
}

# need LOG COMMAND=PACKAGE...: installs the packages whose commands are missing.
need() {
    local log=$1 pair missing=()
    shift
    for pair; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || die "missing packages: ${missing[*]} (only root can install them)"
    say "installing ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive apt_try "$log" \
        apt-get -q -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${missing[@]}" ||
        die_of "$log" "apt cannot install ${missing[*]}"
}

# wait_for_socket PATH: false if there is none within half a minute.
wait_for_socket() {
    local i
    for ((i = 0; i < 300; i++)); do
        [[ ! -S $1 ]] || return 0
        sleep 0.1
    done
    return 1
}
