_ferryfs() {
    local i cur prev opts cmd
    COMPREPLY=()
    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
        cur="$2"
    else
        cur="${COMP_WORDS[COMP_CWORD]}"
    fi
    prev="$3"
    cmd=""
    opts=""

    for i in "${COMP_WORDS[@]:0:COMP_CWORD}"
    do
        case "${cmd},${i}" in
            ",$1")
                cmd="ferryfs"
                ;;
            ferryfs,ctl)
                cmd="ferryfs__subcmd__ctl"
                ;;
            ferryfs,help)
                cmd="ferryfs__subcmd__help"
                ;;
            ferryfs,mount)
                cmd="ferryfs__subcmd__mount"
                ;;
            ferryfs__subcmd__ctl,help)
                cmd="ferryfs__subcmd__ctl__subcmd__help"
                ;;
            ferryfs__subcmd__ctl,inodes)
                cmd="ferryfs__subcmd__ctl__subcmd__inodes"
                ;;
            ferryfs__subcmd__ctl,log-level)
                cmd="ferryfs__subcmd__ctl__subcmd__log__subcmd__level"
                ;;
            ferryfs__subcmd__ctl,metrics)
                cmd="ferryfs__subcmd__ctl__subcmd__metrics"
                ;;
            ferryfs__subcmd__ctl,sessions)
                cmd="ferryfs__subcmd__ctl__subcmd__sessions"
                ;;
            ferryfs__subcmd__ctl,share)
                cmd="ferryfs__subcmd__ctl__subcmd__share"
                ;;
            ferryfs__subcmd__ctl,stats)
                cmd="ferryfs__subcmd__ctl__subcmd__stats"
                ;;
            ferryfs__subcmd__ctl,top)
                cmd="ferryfs__subcmd__ctl__subcmd__top"
                ;;
            ferryfs__subcmd__ctl__subcmd__help,help)
                cmd="ferryfs__subcmd__ctl__subcmd__help__subcmd__help"
                ;;
            ferryfs__subcmd__ctl__subcmd__help,inodes)
                cmd="ferryfs__subcmd__ctl__subcmd__help__subcmd__inodes"
                ;;
            ferryfs__subcmd__ctl__subcmd__help,log-level)
                cmd="ferryfs__subcmd__ctl__subcmd__help__subcmd__log__subcmd__level"
                ;;
            ferryfs__subcmd__ctl__subcmd__help,metrics)
                cmd="ferryfs__subcmd__ctl__subcmd__help__subcmd__metrics"
                ;;
            ferryfs__subcmd__ctl__subcmd__help,sessions)
                cmd="ferryfs__subcmd__ctl__subcmd__help__subcmd__sessions"
                ;;
            ferryfs__subcmd__ctl__subcmd__help,share)
                cmd="ferryfs__subcmd__ctl__subcmd__help__subcmd__share"
                ;;
            ferryfs__subcmd__ctl__subcmd__help,stats)
                cmd="ferryfs__subcmd__ctl__subcmd__help__subcmd__stats"
                ;;
            ferryfs__subcmd__ctl__subcmd__help,top)
                cmd="ferryfs__subcmd__ctl__subcmd__help__subcmd__top"
                ;;
            ferryfs__subcmd__ctl__subcmd__help__subcmd__share,add)
                cmd="ferryfs__subcmd__ctl__subcmd__help__subcmd__share__subcmd__add"
                ;;
            ferryfs__subcmd__ctl__subcmd__help__subcmd__share,remove)
                cmd="ferryfs__subcmd__ctl__subcmd__help__subcmd__share__subcmd__remove"
                ;;
            ferryfs__subcmd__ctl__subcmd__share,add)
                cmd="ferryfs__subcmd__ctl__subcmd__share__subcmd__add"
                ;;
            ferryfs__subcmd__ctl__subcmd__share,help)
                cmd="ferryfs__subcmd__ctl__subcmd__share__subcmd__help"
                ;;
            ferryfs__subcmd__ctl__subcmd__share,remove)
                cmd="ferryfs__subcmd__ctl__subcmd__share__subcmd__remove"
                ;;
            ferryfs__subcmd__ctl__subcmd__share__subcmd__help,add)
                cmd="ferryfs__subcmd__ctl__subcmd__share__subcmd__help__subcmd__add"
                ;;
            ferryfs__subcmd__ctl__subcmd__share__subcmd__help,help)
                cmd="ferryfs__subcmd__ctl__subcmd__share__subcmd__help__subcmd__help"
                ;;
            ferryfs__subcmd__ctl__subcmd__share__subcmd__help,remove)
                cmd="ferryfs__subcmd__ctl__subcmd__share__subcmd__help__subcmd__remove"
                ;;
            ferryfs__subcmd__help,ctl)
                cmd="ferryfs__subcmd__help__subcmd__ctl"
                ;;
            ferryfs__subcmd__help,help)
                cmd="ferryfs__subcmd__help__subcmd__help"
                ;;
            ferryfs__subcmd__help,mount)
                cmd="ferryfs__subcmd__help__subcmd__mount"
                ;;
            ferryfs__subcmd__help__subcmd__ctl,inodes)
                cmd="ferryfs__subcmd__help__subcmd__ctl__subcmd__inodes"
                ;;
            ferryfs__subcmd__help__subcmd__ctl,log-level)
                cmd="ferryfs__subcmd__help__subcmd__ctl__subcmd__log__subcmd__level"
                ;;
            ferryfs__subcmd__help__subcmd__ctl,metrics)
                cmd="ferryfs__subcmd__help__subcmd__ctl__subcmd__metrics"
                ;;
            ferryfs__subcmd__help__subcmd__ctl,sessions)
                cmd="ferryfs__subcmd__help__subcmd__ctl__subcmd__sessions"
                ;;
            ferryfs__subcmd__help__subcmd__ctl,share)
                cmd="ferryfs__subcmd__help__subcmd__ctl__subcmd__share"
                ;;
            ferryfs__subcmd__help__subcmd__ctl,stats)
                cmd="ferryfs__subcmd__help__subcmd__ctl__subcmd__stats"
                ;;
            ferryfs__subcmd__help__subcmd__ctl,top)
                cmd="ferryfs__subcmd__help__subcmd__ctl__subcmd__top"
                ;;
            ferryfs__subcmd__help__subcmd__ctl__subcmd__share,add)
                cmd="ferryfs__subcmd__help__subcmd__ctl__subcmd__share__subcmd__add"
                ;;
            ferryfs__subcmd__help__subcmd__ctl__subcmd__share,remove)
                cmd="ferryfs__subcmd__help__subcmd__ctl__subcmd__share__subcmd__remove"
                ;;
            *)
                ;;
        esac
    done

    case "${cmd}" in
        ferryfs)
            opts="-o -d -f -h -V --shared-dir --share --require-mountpoint --socket-path --socket-group --fd --tag --num-request-queues --thread-pool-size --poll-us --io-uring --dax-window --dax-policy --readonly --no-open --cache --attr-timeout --entry-timeout --negative-timeout --no-readdirplus --readdirplus --writeback --no-writeback --allow-direct-io --no-allow-direct-io --allow-mmap --preserve-noatime --xattr --no-xattr --xattrmap --xattr-preset --posix-acl --security-label --killpriv-v2 --no-killpriv-v2 --translate-uid --translate-gid --map-owner --inode-file-handles --announce-submounts --no-announce-submounts --posix-lock --no-posix-lock --flock --no-flock --inode-limit --rlimit-nofile --sandbox --seccomp --no-landlock --modcaps --uid-map --gid-map --migration-mode --migration-on-error --migration-verify-handles --migration-confirm-paths --daemonize --control --ready-fd --log-level --syslog --log-format --print-capabilities --help --version mount ctl help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 1 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --shared-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --share)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --socket-path)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --socket-group)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fd)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tag)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --num-request-queues)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --thread-pool-size)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --poll-us)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --io-uring)
                    COMPREPLY=($(compgen -W "auto on off" -- "${cur}"))
                    return 0
                    ;;
                --dax-window)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --dax-policy)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --cache)
                    COMPREPLY=($(compgen -W "auto always metadata never" -- "${cur}"))
                    return 0
                    ;;
                --attr-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --entry-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --negative-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --xattrmap)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --xattr-preset)
                    COMPREPLY=($(compgen -W "overlay" -- "${cur}"))
                    return 0
                    ;;
                --posix-acl)
                    COMPREPLY=($(compgen -W "never auto always" -- "${cur}"))
                    return 0
                    ;;
                --security-label)
                    COMPREPLY=($(compgen -W "never auto always" -- "${cur}"))
                    return 0
                    ;;
                --translate-uid)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --translate-gid)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --map-owner)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --inode-file-handles)
                    COMPREPLY=($(compgen -W "never prefer mandatory" -- "${cur}"))
                    return 0
                    ;;
                --inode-limit)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --rlimit-nofile)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --sandbox)
                    COMPREPLY=($(compgen -W "namespace chroot none auto" -- "${cur}"))
                    return 0
                    ;;
                --seccomp)
                    COMPREPLY=($(compgen -W "kill trap log none" -- "${cur}"))
                    return 0
                    ;;
                --modcaps)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --uid-map)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --gid-map)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --migration-mode)
                    COMPREPLY=($(compgen -W "find-paths file-handles" -- "${cur}"))
                    return 0
                    ;;
                --migration-on-error)
                    COMPREPLY=($(compgen -W "abort guest-error" -- "${cur}"))
                    return 0
                    ;;
                --control)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ready-fd)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-level)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-format)
                    COMPREPLY=($(compgen -W "text json" -- "${cur}"))
                    return 0
                    ;;
                -o)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl)
            opts="-h --control --json --help stats inodes sessions metrics top share log-level help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --control)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__help)
            opts="stats inodes sessions metrics top share log-level help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__help__subcmd__help)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__help__subcmd__inodes)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__help__subcmd__log__subcmd__level)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__help__subcmd__metrics)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__help__subcmd__sessions)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__help__subcmd__share)
            opts="add remove"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__help__subcmd__share__subcmd__add)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__help__subcmd__share__subcmd__remove)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__help__subcmd__stats)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__help__subcmd__top)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__inodes)
            opts="-h --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__log__subcmd__level)
            opts="-h --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__metrics)
            opts="-h --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__sessions)
            opts="-h --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__share)
            opts="-h --help add remove help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__share__subcmd__add)
            opts="-h --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__share__subcmd__help)
            opts="add remove help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__share__subcmd__help__subcmd__add)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__share__subcmd__help__subcmd__help)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__share__subcmd__help__subcmd__remove)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__share__subcmd__remove)
            opts="-h --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__stats)
            opts="-h --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__ctl__subcmd__top)
            opts="-h --interval --count --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --interval)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --count)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help)
            opts="mount ctl help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__ctl)
            opts="stats inodes sessions metrics top share log-level"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__ctl__subcmd__inodes)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__ctl__subcmd__log__subcmd__level)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__ctl__subcmd__metrics)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__ctl__subcmd__sessions)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__ctl__subcmd__share)
            opts="add remove"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__ctl__subcmd__share__subcmd__add)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__ctl__subcmd__share__subcmd__remove)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__ctl__subcmd__stats)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__ctl__subcmd__top)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__help)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__help__subcmd__mount)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        ferryfs__subcmd__mount)
            opts="-o -h --fd --daemonize --auto-unmount --allow-other --no-allow-other --default-permissions --fsname --subtype --max-read --max-readahead --mount-attribute --passthrough --passthrough-rule --watch --io-uring --readonly --no-open --cache --attr-timeout --entry-timeout --negative-timeout --no-readdirplus --readdirplus --writeback --no-writeback --allow-direct-io --no-allow-direct-io --allow-mmap --preserve-noatime --xattr --no-xattr --xattrmap --xattr-preset --posix-acl --security-label --killpriv-v2 --no-killpriv-v2 --translate-uid --translate-gid --map-owner --inode-file-handles --announce-submounts --no-announce-submounts --posix-lock --no-posix-lock --flock --no-flock --inode-limit --rlimit-nofile --sandbox --seccomp --no-landlock --modcaps --uid-map --gid-map --threads --log-level --syslog --log-format --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --fd)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                -o)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --fsname)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --subtype)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --max-read)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --max-readahead)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --mount-attribute)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --passthrough)
                    COMPREPLY=($(compgen -W "auto on off" -- "${cur}"))
                    return 0
                    ;;
                --passthrough-rule)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --io-uring)
                    COMPREPLY=($(compgen -W "auto on off" -- "${cur}"))
                    return 0
                    ;;
                --cache)
                    COMPREPLY=($(compgen -W "auto always metadata never" -- "${cur}"))
                    return 0
                    ;;
                --attr-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --entry-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --negative-timeout)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --xattrmap)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --xattr-preset)
                    COMPREPLY=($(compgen -W "overlay" -- "${cur}"))
                    return 0
                    ;;
                --posix-acl)
                    COMPREPLY=($(compgen -W "never auto always" -- "${cur}"))
                    return 0
                    ;;
                --security-label)
                    COMPREPLY=($(compgen -W "never auto always" -- "${cur}"))
                    return 0
                    ;;
                --translate-uid)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --translate-gid)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --map-owner)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --inode-file-handles)
                    COMPREPLY=($(compgen -W "never prefer mandatory" -- "${cur}"))
                    return 0
                    ;;
                --inode-limit)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --rlimit-nofile)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --sandbox)
                    COMPREPLY=($(compgen -W "namespace chroot none auto" -- "${cur}"))
                    return 0
                    ;;
                --seccomp)
                    COMPREPLY=($(compgen -W "kill trap log none" -- "${cur}"))
                    return 0
                    ;;
                --modcaps)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --uid-map)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --gid-map)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --threads)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-level)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-format)
                    COMPREPLY=($(compgen -W "text json" -- "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
    esac
}

if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -F _ferryfs -o nosort -o bashdefault -o default ferryfs
else
    complete -F _ferryfs -o bashdefault -o default ferryfs
fi
