# A guest that migrates while a program writes, files are open and a directory is the working
# directory. Runs by busybox's sh, after prelude.sh.
# shellcheck shell=sh disable=SC2154
mkdir -p /mnt/dir/sub
cd /mnt/dir/sub || exit
echo content >/mnt/held
exec 4<>/mnt/held
(
    i=0
    until [ -e /mnt/stop ]; do
        echo "line $i"
        i=$((i + 1))
    done >/mnt/log
    echo "$i" >/mnt/count
) &
turn leaving
read -r line <&4
try [ "$line" = content ]
echo more >&4
try [ "$(pwd)" = /mnt/dir/sub ]
echo here >here
try [ "$(ls /mnt/dir/sub)" = here ]
touch /mnt/stop
wait
turn arrived
finish
