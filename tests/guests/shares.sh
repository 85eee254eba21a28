# Several shares in one mount, some of which come and go. Runs by busybox's sh, after prelude.sh.
# shellcheck shell=sh disable=SC2154
is() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'"; return 1; }; }
not() { ! "$@" 2>/dev/null; }
listed() { cd /mnt && echo *; }
put() { echo "$1" >"$2"; }

try is "$(listed)" "a one safe turns"
try probe verify /mnt/a/from-host 1 100
try probe make /mnt/a/from-guest 2 100
try probe act /mnt/a/cases
try probe check /mnt/a/cases
try is "$(cat /mnt/one)" 'of the host'
try put 'of the guest' /mnt/one
try is "$(cat /mnt/safe/file)" safe
try not put new /mnt/safe/new
try not put new /mnt/new
try not mkdir /mnt/new
try not rmdir /mnt/a
try not ln /mnt/a/file /mnt/turns/link
# Shares are mounts of their own, so that programs do not take files of two for one.
devices() { stat -c %d /mnt /mnt/a /mnt/safe | sort -u | wc -l; }
try is "$(devices)" 3
# From one share to another everything is copied.
try mv /mnt/a/file /mnt/turns/moved
try is "$(cat /mnt/turns/moved)" a
try is "$(cat /mnt/safe/../one)" 'of the guest'
sync
# One that is open does not keep its share. Linux 6.1 may crash then: it takes the submount away
# while the RELEASE of the file still holds an inode of it.
case $(uname -r) in
6.1.*) ;;
*) exec 3</mnt/safe/file ;;
esac
turn changed
# The promise that is tested: names of shares are cached no longer than a second.
sleep 1.1
try is "$(listed)" "a late one turns"
try not ls /mnt/safe/.
exec 3<&-
try is "$(cat /mnt/late/file)" safe
try put new /mnt/late/new
turn again
sleep 1.1
try is "$(cat /mnt/safe/new)" new
try not put newer /mnt/safe/new
try probe verify /mnt/a/from-guest 2 100
finish
