# Sourced by ./test, ./bench and ./demo, which stand at the top of the tree.
# shellcheck shell=bash

die() # MESSAGE [STATUS]
{
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit "${2:-1}"
}

die_usage() # MESSAGE
{
    usage >&2
    die "$1" 2
}

# Bazel keeps its outputs below the home directory, which some callers do not name.
if [ -z "${HOME-}" ]; then
    HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
    export HOME
fi

# Bazel refuses a path with a space in it: work in a folder of links to this tree.
case $PWD in
*[[:space:]]*)
    tree=$PWD
    links=${XDG_CACHE_HOME:-$HOME/.cache}/nvmmio/tree-$(cksum <<<"$tree" | cut -d ' ' -f 1)
    rm -rf "$links"
    mkdir -p "$links" "$tree/test-logs"
    for entry in .[!.]* *; do
        case $entry in
        .git | bazel-*) ;;
        *) ln -s "$tree/$entry" "$links/" ;;
        esac
    done
    ln -sfn "$links/bazel-bin" "$tree/bazel-bin"
    cd "$links" || exit
    ;;
esac

# A directory to work in, absolute; complains in words.
work_dir() # DIR
{
    [ -e "$1" ] || die "no such directory: $1" 2
    [ -d "$1" ] || die "not a directory: $1" 2
    [ -w "$1" ] && [ -x "$1" ] || die "no permission to write in directory: $1" 2
    (cd "$1" && pwd)
}

# The programs, built for speed, in bazel-bin.  What bazel says is shown when it fails.
build_optimized() # TARGET...
{
    local said
    said=$(mktemp)
    printf 'building %s\n' "$*"
    if ! bazel build -c opt -- "$@" >"$said" 2>&1 </dev/null; then
        tail -n 40 "$said" >&2
        rm -f "$said"
        die 'the build failed; what bazel said stands above'
    fi
    rm -f "$said"
}
