# One of two guests on one directory. Runs by busybox's sh, after prelude.sh and ME=, OTHER=.
# shellcheck shell=sh disable=SC2154
try probe make "/mnt/by-$ME" 1 200
turn "$ME-made"
i=0
while [ $i -lt 200 ]; do
    echo "$ME $i" >>/mnt/log
    i=$((i + 1))
done
try probe verify "/mnt/by-$OTHER" 1 200
turn "$ME-seen"
try rm -r "/mnt/by-$OTHER"
try probe make "/mnt/by-$OTHER" 2 200
turn "$ME-replaced"
# The promise that is tested: nothing of it may be cached longer than a second.
sleep 1.1
try probe verify "/mnt/by-$ME" 2 200
try probe lines /mnt/log 200 one two
finish
