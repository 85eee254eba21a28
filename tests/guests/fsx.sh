# Random operations on files in a DAX window. Runs by busybox's sh, after prelude.sh.
# shellcheck shell=sh disable=SC2154
fsx() { "$linker" --library-path /bin /bin/fsx -q -P /tmp "$@"; }
linker=$(echo /bin/ld-linux*)

# It fills the file before it begins, which is done through the window as well.
try probe mapped /mnt/mapped 5 4194304
turn begun
for seed in 1 2; do
    try fsx -f /mnt/fixed.toml -N 1500 -S "$seed" /mnt/mapped
done
turn fixed
for seed in 1 2; do
    try fsx -f /mnt/any.toml -N 1000 -S "$seed" /mnt/any
done
umount /mnt
finish 'fs/dax.c|mm/truncate.c'
