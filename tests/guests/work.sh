# A share at work: what a guest does over one boot. Runs by busybox's sh, after prelude.sh.
# shellcheck shell=sh disable=SC2154

turn fresh

try probe verify /mnt/from-host 1 2000
try probe make /mnt/from-guest 2 2000

try probe act /mnt/cases
try probe check /mnt/cases
try probe hold /mnt/hold /mnt/turns/held
try probe watch /mnt/changes /mnt/turns/changed

# Two processes, each of which opens the file to append for each line.
append() {
    i=0
    while [ $i -lt 100 ]; do
        echo "$1 $i" >>/mnt/log
        i=$((i + 1))
    done
}
append one &
append two
try wait $!
try probe lines /mnt/log 100 one two

# Everybody at once.
mkdir /mnt/crowd
cd /mnt/crowd || exit
jobs=''
job() {
    "$@" &
    jobs="$jobs $!"
}
copy_and_remove() { cp -a ../small gone && rm -r gone; }
pack_and_unpack() { mkdir unpacked && tar -c -C ../small . | tar -x -C unpacked; }
look() { for _ in 1 2 3; do find /mnt/small /mnt/from-host -type f | wc -l; done | uniq | wc -l >looks; }
blocks() {
    dd if=../blob of=blocks bs=7000 2>/dev/null &&
        dd if=blocks of=blocks-2 bs=1M conv=fsync 2>/dev/null
}
job probe make made 4 80
job copy_and_remove
job pack_and_unpack
job look
job blocks
job cp -a ../small copied
for job in $jobs; do try wait "$job"; done
try probe verify made 4 80
try probe copied copied 3 80
try probe copied unpacked 3 80
try probe same blocks-2 5 3000000
try [ ! -e gone ]
try [ "$(cat looks)" = 1 ]
cd /
turn loaded

# Mounted once more, and again and again.
mkdir -p /tmp/second
try mount -t virtiofs "$TAG" /tmp/second
echo here >/mnt/twice
try [ "$(cat /tmp/second/twice)" = here ]
try umount /mnt
try rm /tmp/second/twice
try umount /tmp/second
i=0
while [ $i -lt 10 ]; do
    i=$((i + 1))
    try mount -t virtiofs "$TAG" /mnt
    echo $i >>/mnt/mounts
    try probe same /mnt/blob 5 3000000
    try umount /mnt
done
try mount -t virtiofs "$TAG" /mnt
try [ "$(wc -l </mnt/mounts)" = 10 ]
turn remounted

try probe verify /mnt/crowd/made 4 80
mkdir /mnt/surveys
for tree in from-guest cases; do
    try probe survey /mnt/$tree /mnt/surveys/$tree
done
turn surveyed
echo 3 >/proc/sys/vm/drop_caches
turn forgotten
finish
