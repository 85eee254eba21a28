# A share with a Debian system as the root of a guest, and a second, read-only one as the
# image under an overlay of it. Runs by Debian's sh, after prelude.sh.
# shellcheck shell=sh

try [ "$(stat -f -c %T /)" = fuse ]
as_alice() { setpriv --reuid alice --regid alice --init-groups "$@"; }

# A package with many files, one of them for all to run as root.
package() {
    mkdir -p pkg/DEBIAN pkg/usr/bin pkg/usr/lib/ferry-test/sub
    printf '%s\n' 'Package: ferry-test' "Version: $1" 'Architecture: all' \
        'Maintainer: Nobody <nobody@example.org>' 'Description: a test' >pkg/DEBIAN/control
    for i in $(seq 200); do echo "$1 $i" >"pkg/usr/lib/ferry-test/$i"; done
    ln -sf ../1 pkg/usr/lib/ferry-test/sub/link
    ln -f pkg/usr/lib/ferry-test/2 pkg/usr/lib/ferry-test/sub/same
    cp /usr/bin/id pkg/usr/bin/ferry-id
    chmod 4755 pkg/usr/bin/ferry-id
    dpkg-deb -Znone --root-owner-group --build pkg "ferry-test_$1.deb" >/dev/null
}
cd /root || exit
try package 1
try package 2
for version in 1 2; do
    try dpkg --install "ferry-test_$version.deb" >/dev/null
    try [ -z "$(dpkg --verify ferry-test)" ]
    try [ "$(cat /usr/lib/ferry-test/sub/link)" = "$version 1" ]
    try [ "$(stat -c %h /usr/lib/ferry-test/sub/same)" = 2 ]
done

try useradd --create-home alice
try [ "$(stat -c %U /home/alice)" = alice ]
try as_alice touch /home/alice/mine
try [ "$(stat -c %U:%G /home/alice/mine)" = alice:alice ]
as_alice touch /root/not 2>/dev/null && try false
# The effective user of a program that is set to run as root, and the real one.
try [ "$(as_alice ferry-id -u)" = 0 ]
try [ "$(as_alice ferry-id -ru)" = "$(id -u alice)" ]

# A file capability: CAP_CHOWN, effective.
cp /usr/bin/chown /usr/bin/ferry-chown
# shellcheck disable=SC2016 # they are Perl's
try perl -e '
    ($file, $name) = ("/usr/bin/ferry-chown", "security.capability");
    $value = pack("V5", 0x2000001, 1, 0, 0, 0);
    exit(syscall(188, $file, $name, $value, length $value, 0) != 0);'
as_alice chown root /home/alice/mine 2>/dev/null && try false
try as_alice ferry-chown root /home/alice/mine
try [ "$(stat -c %U /home/alice/mine)" = root ]
# Writing to it takes the capability away.
echo >>/usr/bin/ferry-chown
as_alice ferry-chown alice /home/alice/mine 2>/dev/null && try false

# Sockets, pipes and devices work where they are.
# shellcheck disable=SC2016 # they are Perl's
try perl -MIO::Socket::UNIX -e '
    $server = IO::Socket::UNIX->new(Local => "/run/../root/socket", Listen => 1) or die $!;
    $client = IO::Socket::UNIX->new(Peer => "/root/socket") or die $!;
    print $client "over a socket\n"; close $client;
    exit(readline($server->accept) ne "over a socket\n");'
try [ -S socket ]
mkfifo pipe
echo through a pipe >pipe &
try [ "$(cat pipe)" = "through a pipe" ]
mknod null c 1 3
try cp /etc/passwd null
try [ -c null ]

# The image below, and what is changed on the root.
mkdir -p /over/upper /over/work /over/root
try mount -t overlay overlay -o lowerdir=/mnt2,upperdir=/over/upper,workdir=/over/work /over/root
echo 1 >/mnt2/etc/made 2>/dev/null && try false
try dpkg --root=/over/root --install ferry-test_1.deb >/dev/null
try rm -r /over/root/usr/share/doc
mkdir -p /over/root/usr/share/doc/new
try [ "$(ls /over/root/usr/share/doc)" = new ]
try rm /over/root/etc/debian_version
try mv /over/root/etc/passwd /over/root/etc/passwd.moved
try chmod 700 /over/root/etc/apt
try umount /over/root
try mount -t overlay overlay -o lowerdir=/mnt2,upperdir=/over/upper,workdir=/over/work /over/root
try [ "$(ls /over/root/usr/share/doc)" = new ]
try [ ! -e /over/root/etc/debian_version ]
try [ ! -e /over/root/etc/passwd ]
try cmp /over/root/etc/passwd.moved /mnt2/etc/passwd
try [ "$(stat -c %a /over/root/etc/apt)" = 700 ]
try [ "$(chroot /over/root /usr/bin/ferry-id -u)" = 0 ]
try [ -z "$(dpkg --root=/over/root --verify ferry-test)" ]
try umount /over/root
dmesg | grep -i 'overlayfs.*\(fall\|not supp\|does not\|missing\)' && try false
finish
