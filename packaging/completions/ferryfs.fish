# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ferryfs_global_optspecs
    string join \n shared-dir= share= require-mountpoint socket-path= socket-group= fd= tag= num-request-queues= thread-pool-size= poll-us= io-uring= dax-window= dax-policy= readonly no-open cache= attr-timeout= entry-timeout= negative-timeout= no-readdirplus readdirplus writeback no-writeback allow-direct-io no-allow-direct-io allow-mmap preserve-noatime xattr no-xattr xattrmap= xattr-preset= posix-acl= security-label= killpriv-v2 no-killpriv-v2 translate-uid= translate-gid= map-owner= inode-file-handles= announce-submounts no-announce-submounts posix-lock no-posix-lock flock no-flock inode-limit= rlimit-nofile= sandbox= seccomp= no-landlock modcaps= uid-map= gid-map= migration-mode= migration-on-error= migration-verify-handles migration-confirm-paths daemonize control= ready-fd= log-level= syslog log-format= print-capabilities o= d f h/help V/version
end

function __fish_ferryfs_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ferryfs_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ferryfs_using_subcommand
    set -l cmd (__fish_ferryfs_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ferryfs -n "__fish_ferryfs_needs_command" -l shared-dir -d 'Directory to share' -r -F
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l share -d 'Share a directory or a regular file under a name, instead of --shared-dir; may be repeated, and the guest finds all of them in the root of the mount. ":ro" behind the path refuses changes' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l socket-path -d 'Listen for the front-end (QEMU, cloud-hypervisor, ...) on this vhost-user socket; its pid file is SOCK.pid' -r -F
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l socket-group -d 'Group that may connect to the socket, by name or number' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l fd -d 'Use this descriptor, a listening Unix socket, instead of making one; without this and --socket-path, the one that systemd passes (LISTEN_FDS)' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l tag -d 'Mount tag to offer to front-ends that take it from the device (1 to 36 bytes)' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l num-request-queues -d 'Request queues that the device\'s config space names, which front-ends see only with --tag; there are always as many at least' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l thread-pool-size -d 'Threads for requests that wait for storage, at most [default: 16, as with 0]' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l poll-us -d 'Microseconds for which a queue may look for the next request before it sleeps, if requests come that soon and nobody else needs the processor [default: 50, or 0 with one processor]' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l io-uring -d 'Have io_uring read what waits for storage, instead of a thread: auto (where it can be used), on (and say so if it cannot) or off' -r -f -a "auto\t''
on\t''
off\t''"
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l dax-window -d 'Let the guest map files into a window of this size, a power of two such as 512M, if the front-end can do that (see docs/DAX.md)' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l dax-policy -d 'Files that are mapped if the guest leaves it to us: auto (large ones, of which several fit into the window), always, never, size:N (those of N bytes or more) or glob:PATTERN (by name)' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l cache -d 'What a guest may keep in its cache: auto (a second, data while the file is unchanged), always, metadata (no data) or never' -r -f -a "auto\t''
always\t''
metadata\t''
never\t''"
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l attr-timeout -d 'Seconds for which attributes may be kept [default: by the policy]' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l entry-timeout -d 'Seconds for which names may be kept [default: by the policy]' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l negative-timeout -d 'Seconds for which a name may be taken not to exist [default: by the policy]' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l xattrmap -d 'Rename extended attributes by these rules, as ":map::user.virtiofs.:"' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l xattr-preset -d 'Rename extended attributes for a purpose: overlay (an overlayfs upper layer and file capabilities in the guest, without rights on the host)' -r -f -a "overlay\t''"
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l posix-acl -d 'Serve POSIX ACLs: never, auto (if the guest can) or always (refuse other guests)' -r -f -a "never\t''
auto\t''
always\t''"
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l security-label -d 'Give new files their security label: never, auto (if the guest can) or always' -r -f -a "never\t''
auto\t''
always\t''"
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l translate-uid -d 'Translate user ids: map|guest|host|squash-guest|squash-host:FIRST:TARGET:COUNT or forbid-guest:FIRST:COUNT; may be repeated' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l translate-gid -d 'Translate group ids, as --translate-uid' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l map-owner -d 'Everything belongs to this user and group in the guest, and to the daemon\'s on the host' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l inode-file-handles -d 'Keep inodes by file handle: never, prefer (where it works) or mandatory' -r -f -a "never\t''
prefer\t''
mandatory\t''"
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l inode-limit -d 'Inodes that the guest may know at a time [default: as many as need an eighth of the host\'s memory at most]' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l rlimit-nofile -d 'Limit of open files to set [default: the hard limit, at most 1000000]; 0 leaves it alone' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l sandbox -d 'What the daemon sees of the host: namespace (nothing but the share, in namespaces of its own), chroot (nothing but the share; for root only), none (what its user sees) or auto (the first of these that can be had)' -r -f -a "namespace\t''
chroot\t''
none\t''
auto\t''"
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l seccomp -d 'What happens if the daemon makes a system call that it has no use for: kill, trap, log, or none to allow all' -r -f -a "kill\t''
trap\t''
log\t''
none\t''"
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l modcaps -d 'Capabilities of root to keep or to drop besides the usual, as "+sys_admin:-mknod"' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l uid-map -d 'User ids of the namespace, as ":INSIDE:HOST:COUNT:"; may be repeated [default: the daemon\'s own, for other users than root]' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l gid-map -d 'Group ids of the namespace, as --uid-map' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l migration-mode -d 'How a guest\'s inodes are described to the daemon that it migrates to: find-paths (by their names in the share, which may be a copy there) or file-handles (the file system must be the same, and this one\'s daemon be trusted by the other, with the same option)' -r -f -a "find-paths\t''
file-handles\t''"
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l migration-on-error -d 'What is done about an inode of a guest that migrates here and cannot be opened: abort (refuse the guest) or guest-error (the guest gets errors for it)' -r -f -a "abort\t''
guest-error\t''"
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l control -d 'Answer `ferryfs ctl` on this socket, which only our user may connect to' -r -F
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l ready-fd -d 'Write a newline to this descriptor and close it once front-ends may connect' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l log-level -d 'How much to log: off, error, warn, info, debug or trace; RUST_LOG overrides it' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l log-format -d 'How to write the log: text, or json (an object a line)' -r -f -a "text\t'A line with its time and level'
json\t'A JSON object a line'"
complete -c ferryfs -n "__fish_ferryfs_needs_command" -s o -d 'Options as the C virtiofsd had them: a comma list of words as source=DIR, cache=always or no_xattr' -r
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l require-mountpoint -d 'Refuse to start while the directory is not a mount point: it would be the wrong one'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l readonly -d 'Refuse all changes'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l no-open -d 'With --readonly: let the guest use files and directories without opening them, which saves it two requests each'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l no-readdirplus -d 'Do not send attributes along when a directory is read'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l readdirplus
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l writeback -d 'Let the guest write later what its programs have written'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l no-writeback
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l allow-direct-io -d 'Pass O_DIRECT on to the host'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l no-allow-direct-io
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l allow-mmap -d 'Let files without cached data be mapped [default for metadata and never]'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l preserve-noatime -d 'Pass O_NOATIME on to the host'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l xattr -d 'Serve extended attributes [default: if the directory has them]'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l no-xattr -d 'Do not serve extended attributes'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l killpriv-v2 -d 'Clear set-user-id as the guest asks for it [default]'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l no-killpriv-v2 -d 'Leave it to the guest to clear set-user-id, at the cost of a request per write'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l announce-submounts -d 'Tell the guest where other file systems are mounted [default]'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l no-announce-submounts -d 'Show the guest one file system, with inode numbers that are unique in all of it'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l posix-lock -d 'Make fcntl(2) locks of the guest hold on the host as well'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l no-posix-lock
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l flock -d 'Make flock(2) locks of the guest hold on the host as well'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l no-flock
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l no-landlock -d 'Do without Landlock, which has the kernel look again at whatever is opened or made'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l migration-verify-handles -d 'With find-paths: have the daemon that a guest migrates to check that it finds the same inodes, for which the file system must be the same'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l migration-confirm-paths
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l daemonize -d 'Go to the background once front-ends may connect; the log goes to syslog'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l syslog -d 'Log to syslog; without one, to the standard error output'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -l print-capabilities -d 'Print what this program can do, for launchers, and exit'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -s d -d 'Same as --log-level=debug'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -s f -d 'Nothing: the daemon stays in the foreground anyway'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -s h -l help -d 'Print help'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -s V -l version -d 'Print version'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -f -a "mount" -d 'Mount a host directory on this host, through Linux\'s FUSE client'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -f -a "ctl" -d 'Look into a running daemon, and tell it what to do'
complete -c ferryfs -n "__fish_ferryfs_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l fd -d 'Use this descriptor, /dev/fuse opened and mounted, instead of mounting; /dev/fd/N as MOUNTPOINT does the same' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -s o -d 'Options as for mount(8), separated by commas: those of this list without their dashes, and ro, nosuid, nodev, noexec, noatime, nodiratime' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l fsname -d 'What mount tables show as the source [default: SOURCE]' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l subtype -d 'What mount tables show as the type, behind "fuse."' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l max-read -d 'Bytes of the largest READ [default: the kernel\'s limit]' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l max-readahead -d 'Bytes that the kernel reads ahead of a program that reads in order [default: 524288 if we may set it and requests do not come over io_uring, or else the kernel\'s]' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l mount-attribute -d 'A property of the mount that is not ours' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l passthrough -d 'Let the kernel read and write files by itself (FUSE passthrough): auto (where the kernel can, and the daemon is started with CAP_SYS_ADMIN), on (and say so if it cannot) or off' -r -f -a "auto\t''
on\t''
off\t''"
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l passthrough-rule -d 'Which files it reads and writes by itself: on or off, and after a colon what has to apply of read-only, write, min-size=, max-size=, glob=, as "off:write,glob=*.log"; may be repeated, the first that applies decides [default: with auto, off:read-only,max-size=65536]' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l io-uring -d 'Take requests over io_uring: auto (where the kernel offers it), on (and say so if it does not) or off' -r -f -a "auto\t''
on\t''
off\t''"
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l cache -d 'What a guest may keep in its cache: auto (a second, data while the file is unchanged), always, metadata (no data) or never' -r -f -a "auto\t''
always\t''
metadata\t''
never\t''"
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l attr-timeout -d 'Seconds for which attributes may be kept [default: by the policy]' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l entry-timeout -d 'Seconds for which names may be kept [default: by the policy]' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l negative-timeout -d 'Seconds for which a name may be taken not to exist [default: by the policy]' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l xattrmap -d 'Rename extended attributes by these rules, as ":map::user.virtiofs.:"' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l xattr-preset -d 'Rename extended attributes for a purpose: overlay (an overlayfs upper layer and file capabilities in the guest, without rights on the host)' -r -f -a "overlay\t''"
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l posix-acl -d 'Serve POSIX ACLs: never, auto (if the guest can) or always (refuse other guests)' -r -f -a "never\t''
auto\t''
always\t''"
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l security-label -d 'Give new files their security label: never, auto (if the guest can) or always' -r -f -a "never\t''
auto\t''
always\t''"
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l translate-uid -d 'Translate user ids: map|guest|host|squash-guest|squash-host:FIRST:TARGET:COUNT or forbid-guest:FIRST:COUNT; may be repeated' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l translate-gid -d 'Translate group ids, as --translate-uid' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l map-owner -d 'Everything belongs to this user and group in the guest, and to the daemon\'s on the host' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l inode-file-handles -d 'Keep inodes by file handle: never, prefer (where it works) or mandatory' -r -f -a "never\t''
prefer\t''
mandatory\t''"
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l inode-limit -d 'Inodes that the guest may know at a time [default: as many as need an eighth of the host\'s memory at most]' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l rlimit-nofile -d 'Limit of open files to set [default: the hard limit, at most 1000000]; 0 leaves it alone' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l sandbox -d 'What the daemon sees of the host: namespace (nothing but the share, in namespaces of its own), chroot (nothing but the share; for root only), none (what its user sees) or auto (the first of these that can be had)' -r -f -a "namespace\t''
chroot\t''
none\t''
auto\t''"
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l seccomp -d 'What happens if the daemon makes a system call that it has no use for: kill, trap, log, or none to allow all' -r -f -a "kill\t''
trap\t''
log\t''
none\t''"
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l modcaps -d 'Capabilities of root to keep or to drop besides the usual, as "+sys_admin:-mknod"' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l uid-map -d 'User ids of the namespace, as ":INSIDE:HOST:COUNT:"; may be repeated [default: the daemon\'s own, for other users than root]' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l gid-map -d 'Group ids of the namespace, as --uid-map' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l threads -d 'Threads that serve requests, besides those that wait for storage [default: one a CPU]' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l log-level -d 'How much to log: off, error, warn, info, debug or trace; RUST_LOG overrides it' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l log-format -d 'How to write the log: text, or json (an object a line)' -r -f -a "text\t'A line with its time and level'
json\t'A JSON object a line'"
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l daemonize -d 'Return when the mount is usable, and serve it in the background'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l auto-unmount -d 'Unmount when the daemon ends in whatever way'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l allow-other -d 'Let other users use the mount [default for root]'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l no-allow-other -d 'Let nobody but the user who mounts use the mount'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l default-permissions -d 'The kernel checks permissions; always on'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l watch -d 'Watch SOURCE, so that changes by others are seen at once whatever is cached'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l readonly -d 'Refuse all changes'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l no-open -d 'With --readonly: let the guest use files and directories without opening them, which saves it two requests each'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l no-readdirplus -d 'Do not send attributes along when a directory is read'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l readdirplus
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l writeback -d 'Let the guest write later what its programs have written'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l no-writeback
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l allow-direct-io -d 'Pass O_DIRECT on to the host'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l no-allow-direct-io
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l allow-mmap -d 'Let files without cached data be mapped [default for metadata and never]'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l preserve-noatime -d 'Pass O_NOATIME on to the host'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l xattr -d 'Serve extended attributes [default: if the directory has them]'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l no-xattr -d 'Do not serve extended attributes'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l killpriv-v2 -d 'Clear set-user-id as the guest asks for it [default]'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l no-killpriv-v2 -d 'Leave it to the guest to clear set-user-id, at the cost of a request per write'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l announce-submounts -d 'Tell the guest where other file systems are mounted [default]'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l no-announce-submounts -d 'Show the guest one file system, with inode numbers that are unique in all of it'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l posix-lock -d 'Make fcntl(2) locks of the guest hold on the host as well'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l no-posix-lock
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l flock -d 'Make flock(2) locks of the guest hold on the host as well'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l no-flock
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l no-landlock -d 'Do without Landlock, which has the kernel look again at whatever is opened or made'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -l syslog -d 'Log to syslog; without one, to the standard error output'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand mount" -s h -l help -d 'Print help'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and not __fish_seen_subcommand_from stats inodes sessions metrics top share log-level help" -l control -d 'The daemon\'s control socket, as its --control names it' -r -F
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and not __fish_seen_subcommand_from stats inodes sessions metrics top share log-level help" -l json -d 'Print the answer as JSON'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and not __fish_seen_subcommand_from stats inodes sessions metrics top share log-level help" -s h -l help -d 'Print help'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and not __fish_seen_subcommand_from stats inodes sessions metrics top share log-level help" -f -a "stats" -d 'What was served since the start, how fast, and what is held now'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and not __fish_seen_subcommand_from stats inodes sessions metrics top share log-level help" -f -a "inodes" -d 'What inodes are held, and how'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and not __fish_seen_subcommand_from stats inodes sessions metrics top share log-level help" -f -a "sessions" -d 'Who is served'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and not __fish_seen_subcommand_from stats inodes sessions metrics top share log-level help" -f -a "metrics" -d 'What `stats` says as Prometheus reads it'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and not __fish_seen_subcommand_from stats inodes sessions metrics top share log-level help" -f -a "top" -d 'What is served right now, again and again'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and not __fish_seen_subcommand_from stats inodes sessions metrics top share log-level help" -f -a "share" -d 'Share more, or less, without a restart: of a daemon that was started with --share'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and not __fish_seen_subcommand_from stats inodes sessions metrics top share log-level help" -f -a "log-level" -d 'How much is logged, or to log so much from now on'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and not __fish_seen_subcommand_from stats inodes sessions metrics top share log-level help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from stats" -s h -l help -d 'Print help'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from inodes" -s h -l help -d 'Print help'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from sessions" -s h -l help -d 'Print help'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from metrics" -s h -l help -d 'Print help'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from top" -l interval -d 'Seconds between looks' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from top" -l count -d 'Looks before it ends [default: as long as the daemon runs]' -r
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from top" -s h -l help -d 'Print help'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from share" -s h -l help -d 'Print help'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from share" -f -a "add" -d 'Share a directory or a regular file'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from share" -f -a "remove" -d 'Share it no longer: what the guest still uses of it is stale'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from share" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from log-level" -s h -l help -d 'Print help'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "stats" -d 'What was served since the start, how fast, and what is held now'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "inodes" -d 'What inodes are held, and how'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "sessions" -d 'Who is served'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "metrics" -d 'What `stats` says as Prometheus reads it'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "top" -d 'What is served right now, again and again'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "share" -d 'Share more, or less, without a restart: of a daemon that was started with --share'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "log-level" -d 'How much is logged, or to log so much from now on'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand help; and not __fish_seen_subcommand_from mount ctl help" -f -a "mount" -d 'Mount a host directory on this host, through Linux\'s FUSE client'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand help; and not __fish_seen_subcommand_from mount ctl help" -f -a "ctl" -d 'Look into a running daemon, and tell it what to do'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand help; and not __fish_seen_subcommand_from mount ctl help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "stats" -d 'What was served since the start, how fast, and what is held now'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "inodes" -d 'What inodes are held, and how'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "sessions" -d 'Who is served'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "metrics" -d 'What `stats` says as Prometheus reads it'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "top" -d 'What is served right now, again and again'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "share" -d 'Share more, or less, without a restart: of a daemon that was started with --share'
complete -c ferryfs -n "__fish_ferryfs_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "log-level" -d 'How much is logged, or to log so much from now on'
