# A guest that is reset, reboots and boots again. Runs by busybox's sh, after prelude.sh.
# shellcheck shell=sh disable=SC2154

turn "fresh-$BOOT"

case $BOOT in
1)
    try probe verify /mnt/from-host 1 100
    try probe make /mnt/from-guest 2 100
    # Still open when the machine is reset: nobody releases, forgets or unmounts anything.
    probe hold /mnt/hold /mnt/turns/never &
    turn held
    [ "$failed" = 0 ] || exit 1
    # What guest-init would say; scripts/guest counts one for each boot.
    echo '<0>ferry: status 0' >/dev/kmsg
    reboot -nf
    ;;
2)
    try probe verify /mnt/from-host 1 100
    try probe verify /mnt/from-guest 2 100
    try rm -r /mnt/from-guest
    try probe make /mnt/from-guest 3 100
    ;;
3)
    try probe verify /mnt/from-guest 3 100
    ;;
esac
finish
