# What a guest does under every cache policy. Runs by busybox's sh, after prelude.sh.
# shellcheck shell=sh disable=SC2154
try probe verify /mnt/from-host 1 100
try probe make /mnt/from-guest 2 100
try probe verify /mnt/from-guest 2 100
try probe act /mnt/cases
try probe check /mnt/cases
umount /mnt
mount -t virtiofs "$TAG" /mnt
turn written
finish
