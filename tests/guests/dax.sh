# Files in a DAX window. Runs by busybox's sh, after prelude.sh.
# shellcheck shell=sh disable=SC2154
case $BOOT in
1)
    turn begun
    # What is mapped is not read, whatever reads it.
    try probe mapped /mnt/blob 5 8388608
    try probe same /mnt/blob 5 8388608
    turn read
    try probe store /mnt/store 7 4194304
    turn stored
    try probe share /mnt/share /mnt/turns/shared

    # More than the window has room for, by several at once.
    jobs=''
    for _ in 1 2 3 4; do
        probe mapped /mnt/big 8 50331648 &
        jobs="$jobs $!"
    done
    probe store /mnt/big-2 9 33554432 &
    jobs="$jobs $!"
    for job in $jobs; do try wait "$job"; done
    turn reclaimed

    # What cannot be mapped wholly is not mapped.
    for file in odd small page; do
        size=$(stat -c %s "/mnt/$file")
        try probe same "/mnt/$file" 6 "$size"
        try probe mapped "/mnt/$file" 6 "$size"
    done
    try probe act /mnt/cases
    try probe check /mnt/cases
    try probe make /mnt/from-guest 2 100

    # Buffers in the window.
    try probe direct /mnt/plain /mnt/share /mnt/copy
    try probe same /mnt/copy 12 524288

    # Sizes that change.
    try probe resize /mnt/resized 10 4194304
    echo tail >>/mnt/appended
    try [ "$(tail -c 5 /mnt/appended)" = tail ]
    head -c 100000 /dev/zero >/mnt/cut
    try [ "$(wc -c </mnt/cut)" = 100000 ]
    head -c 100000 /dev/zero | cmp -s - /mnt/cut || try false
    turn grown
    try [ "$(tail -c 4 /mnt/grown)" = host ]

    # Names that change.
    mv /mnt/blob /mnt/moved
    try probe mapped /mnt/moved 5 8388608
    mv /mnt/store /mnt/moved
    try probe mapped /mnt/moved 7 4194304
    (
        exec 4<>/mnt/moved
        rm /mnt/moved
        try [ "$(head -c 4194304 <&4 | wc -c)" = 4194304 ]
    )

    umount /mnt
    mount -t virtiofs "$TAG" /mnt
    try probe mapped /mnt/big 8 50331648
    turn remounted
    umount /mnt
    ;;
2)
    # Another kernel on the same connection.
    try probe mapped /mnt/big 8 50331648
    umount /mnt
    # A window or an error.
    if mount -t virtiofs -o dax=always "$TAG" /mnt; then
        try probe mapped /mnt/big 8 50331648
        cat /mnt/odd >/dev/null 2>&1 && try false
        umount /mnt
    else
        try false
    fi
    mount -t virtiofs "$TAG" /mnt
    # QEMU 11.1 does not always survive a reset with anything mapped.
    try probe mapped /mnt/big 8 50331648
    umount /mnt
    [ "$failed" = 0 ] || exit 1
    # What guest-init would say; scripts/guest counts one for each boot.
    echo '<0>ferry: status 0' >/dev/kmsg
    reboot -nf
    ;;
3)
    try probe mapped /mnt/big 8 50331648
    try probe mapped /mnt/big-2 9 33554432
    ;;
esac
# Linux 7.2 complains when it hears that a file has changed that is in memory, and goes on.
finish 'fs/dax.c|mm/truncate.c'
