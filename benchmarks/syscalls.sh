#!/usr/bin/env bash
# Count system calls: usage() says how.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)

usage()
{
    cat <<'END'
usage: benchmarks/syscalls.sh DIR
       benchmarks/syscalls.sh --open DIR

Prints how many system calls 100,000 single-row INSERT transactions with default
PRAGMAs make through nvmmio on a database in DIR: the difference between runs of
110,000 and of 10,000, so that opening and closing take no part in it.

--open: instead, the calls that make things durable in opening a database, one
transaction and closing it again, in three modes.
END
}

die()
{
    printf 'syscalls.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

mode=inserts
case "${1-}" in
-h | --help)
    usage
    exit 0
    ;;
--open)
    mode=open
    shift
    ;;
-*)
    usage >&2
    die "unknown argument: $1" 2
    ;;
esac
[ $# -eq 1 ] || { usage >&2; die 'DIR is missing, or more than that is there' 2; }
[ -d "$1" ] || die "no such directory: $1" 2
extension=$top/bazel-bin/sqlite_vfs/nvmmio.so
inserts=$top/bazel-bin/benchmarks/inserts
for built in "$extension" "$inserts"; do
    [ -e "$built" ] || die "${built#"$top/"} is not built: run ./bench instead"
done
directory=$(mktemp -d "$1/nvmmio-syscalls.XXXXXX") || die "cannot make a directory in $1"
trap 'rm -rf "$directory"' EXIT

# Lines "name calls", of the summary that strace -c makes.
trace() # COUNT DATABASE [EXTENSION]
{
    local count=$1 database=$2
    shift 2
    strace -f -c -o "$directory/summary" "$inserts" "$database" "$count" "$@" ||
        die "the run of $count transactions failed"
    awk '/^[ 0-9.]+ / && $NF != "total" { print $NF, $4 }' "$directory/summary"
}

if [ "$mode" = open ]; then
    printf '%-14s %10s %10s %10s %10s\n' '' fdatasync fsync writes unlink
    for name in nvmmio wal delete; do
        database=$directory/$name.db
        more=()
        [ $name != nvmmio ] || more=("$extension")
        "$inserts" "$database" 1 "${more[@]}" || die "mode $name failed"
        [ $name != wal ] || sqlite3 "$database" 'PRAGMA journal_mode=wal' >/dev/null
        trace 1 "$database" "${more[@]}" >"$directory/calls"
        awk -v name=$name '
            { made[$1 ~ /^pwrite/ ? "write" : $1] += $2 }
            END {
                printf "%-14s %10d %10d %10d %10d\n", name, made["fdatasync"], made["fsync"],
                    made["write"], made["unlink"] + made["unlinkat"]
            }' "$directory/calls"
    done
    exit 0
fi

trace 10000 "$directory/few.db" "$extension" >"$directory/few"
trace 110000 "$directory/many.db" "$extension" >"$directory/many"
printf 'system calls of 100,000 single-row INSERT transactions in %s\n' "$1"
awk 'FNR == NR { few[$1] = $2; next }
     { difference[$1] = $2 - few[$1]; delete few[$1] }
     END {
         for (name in few) difference[name] = -few[name]
         for (name in difference) {
             sum += difference[name]
             if (difference[name] != 0) printf "%10d  %s\n", difference[name], name
         }
         printf "%10d  all together, %.5f a transaction\n", sum, sum / 100000
     }' "$directory/few" "$directory/many" | sort -k 2,2 -s | sort -n -r -s
