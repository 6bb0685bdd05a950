#!/bin/sh
# Owns every process of one cluster: when this process ends, for whatever reason, they end.
#
# $1 is the cluster's directory. Standard input carries the owner's wishes, one a line:
#   start NAME   run components/NAME, its output in logs/NAME.log
#   detach       the owner may go
# When standard input ends without a "detach", the owner is dead and the cluster ends with it.
# When a component ends, its name and exit status go to the file "failed" and the cluster ends; but where there is a file
# away/NAME, it starts again after the seconds that stand there.
# Standard output is the cluster's lock: held for as long as this runs.
cd "$1" || exit 1

# As PID 1 of its own namespace a shell must wait for the orphans (containerd's shims), and one that reads does not.
if [ $$ = 1 ] && [ -z "$2" ]; then
    exec 3<&0
    sh ./supervise.sh "$1" reaped <&3 &
    exec 3<&-
    wait $!
    exit
fi

mkfifo events.new
exec 3<>events.new 4<&0
# For background use. Every child asks the kernel to be killed with its parent: this holds without a PID namespace and without root.
with_parent() { exec setpriv --pdeathsig KILL "$@"; }

with_parent sh -c 'while read -r line; do echo "$line" >&3; done; echo ownerless >&3' <&4 &
exec 4<&-
mv events.new events

detached=
while read -r event component status <&3; do
    case $event in
    start)
        with_parent sh -c 'while
                setpriv --pdeathsig KILL sh "components/$1" >>"logs/$1.log" 2>&1 </dev/null 3<&-
                status=$?
                [ -e "away/$1" ]
            do
                setpriv --pdeathsig KILL sleep "$(cat "away/$1")" 3<&-
                rm "away/$1"
            done
            echo "ended $1 $status" >&3' sh "$component" &
        ;;
    detach) detached=yes ;;
    ownerless) [ -n "$detached" ] || exit 0 ;;
    ended)
        echo "$component $status" >failed.new
        mv failed.new failed
        exit 1
        ;;
    esac
done
