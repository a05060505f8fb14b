# shellcheck shell=bash
# Power cuts: the parts cuts, stills and broken of ./run, which reads this.
# shellcheck disable=SC2154 # what run has set

# A random number below $1, from a generator of this script's own: bash's changes.
below()
{
    random=$(((random * 1103515245 + 12345) & 0x7fffffff))
    drawn=$(((random >> 8) % $1))
}

# In one life, what the last cut left is verified and then written on until the next
# cut, which may come in the recovery already.  Now and then the writer begins anew, in
# a directory of a round of its own.
part_cuts()
{
    local base=$logs/$fs-cuts round=0 writes=0 recoveries=0 openings=0 others=0 tries=0 phase
    local want_recoveries=$(((cuts + 2) / 3)) said folder crashed more begin took=0 awaited
    mkdir -p "$base"
    image_new
    begin_round
    while ((writes < cuts || recoveries < want_recoveries)); do
        ((tries < 4 * (cuts + want_recoveries))) || { bad "too few cuts hit"; break; }
        tries=$((tries + 1)) begin=$(milliseconds)
        said=$(wc -l <"$folder/said")
        if ((recoveries < want_recoveries && writes > recoveries * 2)); then
            below 3
            awaited=recovering
            ((drawn || openings * 2 >= want_recoveries)) || awaited=opening
            below 400
            cut_at $awaited 0 "$drawn"
        else
            below 80
            cut_at writing "$drawn" "$((drawn % 4 ? drawn * 7 % 300 : drawn * 37))"
        fi
        more=$?
        phase=$(tail -n +$((said + 1)) "$folder/said" |
            awk '$2 ~ /^(begun|recovering|verifying|writing)$/ { phase = $2 } END { print phase }')
        took=$((took + $(milliseconds) - begin))
        printf '  cut %d: round %d, after %d ms, while %s; acknowledged: core %d, sql %d, grow %d\n' "$tries" \
            "$round" "$(($(milliseconds) - begin))" "${phase:-starting}" "$(last core)" "$(last sql)" "$(last grow)"
        if [ $more -ne 0 ] || [ -s "$folder/stderr" ]; then
            failure "cut $tries, round $round" $more
            return
        fi
        case $phase in
        writing) writes=$((writes + 1)) ;;
        recovering) recoveries=$((recoveries + 1)) ;;
        verifying) openings=$((openings + 1)) ;;
        *) others=$((others + 1)) ;;
        esac
        if [ "$phase" = writing ] && below 8 && [ "$drawn" -eq 0 ]; then
            final_verify || return
            round=$((round + 1))
            begin_round
        fi
    done
    final_verify || return
    crashed=$(cat "$base"/*/said | grep -c ' state .* crashed ')
    good "$writes cuts while writing, $recoveries while recovering, $openings while opening and reading, $others in between on $fs; lost: 0"
    printf '    %d.%d s a cut; transactions acknowledged %d; files that had to be recovered %d; ended with one more than acknowledged %d; killed and started anew %d times; left lying: %d super-journals, %d cold journals; seed %s\n' \
        $((took / tries / 1000)) $((took / tries / 100 % 10)) \
        "$(awk '{ n[FILENAME] = $1 } END { for (f in n) s += n[f]; print s + 0 }' "$base"/*/{core,sql,grow})" \
        "$crashed" "$(cat "$base"/*/said | awk '$2 == "verified" && $7 > $5' | wc -l)" \
        "$(cat "$base"/*/said | grep -c ' killed ')" "$(litter 4)" "$(litter 7)" "$seed"
    rm -f "$image"
}

milliseconds()
{
    printf '%d\n' $((${EPOCHREALTIME/./} / 1000))
}

# The last acknowledged transaction of a load, once its line is whole.
last() # LOAD
{
    local bytes
    bytes=$(stat -c %s "$folder/$1" 2>/dev/null || printf 0)
    head -c $((bytes - bytes % 21)) "$folder/$1" 2>/dev/null | tail -n 1 | tr -d ' '
}

# A life of the writer for every 20 pictures.
part_stills()
{
    local base=$logs/$fs-stills round=0 folder vm_pid='' taken=0 status=0
    mkdir -p "$base"
    image_new
    begin_round
    while ((taken < stills && status == 0)); do
        life 1500 "$stills"
    done
    if [ $status -ne 0 ]; then
        mv "$image.still" "$image"
        failure "still $taken" $status
        return
    fi
    good "$stills stills on $fs; lost: 0"
    printf '    transactions acknowledged %d; files that had to be recovered %d; ended with one more than acknowledged %d; killed and started anew %d times; seed %s\n' \
        "$(acknowledged)" "$(cat "$base"/still-*/said | grep -c ' state .* crashed ')" \
        "$(cat "$base"/still-*/said | awk '$2 == "verified" && $7 > $5' | wc -l)" \
        "$(grep -c ' killed ' "$folder/said")" "$seed"
    rm -f "$image" "$image.still"
}

# A life of the writer: 20 stills, each within $1 ms of the last, until there are $2.
life()
{
    start open live
    await_writing
    status=$?
    [ "$status" -eq 0 ] || return
    while
        taken=$((taken + 1))
        below "$1"
        sleep "$(printf '%d.%03d' $((drawn / 1000)) $((drawn % 1000)))"
        still || status=$?
        ((status == 0 && taken < $2 && taken % 20))
    do :; done
    kill -KILL "$vm_pid" 2>/dev/null
    wait "$vm_pid" 2>/dev/null
}

await_writing()
{
    while kill -0 "$vm_pid" 2>/dev/null; do
        ! tail -n +$((said + 1)) "$folder/said" | grep -q ' writing ' || return 0
        sleep 0.1
    done
    ended
}

# A transaction that was acknowledged in it is in the picture: the acknowledgements are copied last.
still()
{
    local of=$base/still-$taken status=0
    rm -rf "$of"
    kill -STOP "$vm_pid" 2>>"$folder/stderr" || return
    cp --sparse=always "$image" "$image.still"
    mkdir "$of" && cp "$folder"/{core,sql,grow} "$of" && : >"$of/said"
    kill -CONT "$vm_pid"
    # In its place, as logs name what a transaction over several files depends on.
    # shellcheck disable=SC2016 # it expands there
    unshare --mount sh -ec 'mount -t tmpfs none /mnt && mkdir /mnt/pmem
        mount -o "loop,offset=$((2 << 20))" "$1" /mnt/pmem && shift && exec "$@"' sh "$image.still" \
        "$bin/dax_writer" verify "/mnt/pmem/$round" "$of" "$seed" \
        >"$of/stdout" 2>"$of/stderr" || status=$?
    [ $status -eq 0 ] || cp "$of/stderr" "$of/said" "$folder"
    return $status
}

litter() # FIELD
{
    awk -v field="$1" '$2 == "litter" { n[FILENAME] = $field } END { for (f in n) s += n[f]; print s + 0 }' \
        "$base"/*/said
}

# Writers of one image, in $round; their channel is $folder.
writer=dax_writer
[ -z "${NVMMIO_TEST_BROKEN-}" ] || writer=dax_broken_writer

# Sets vm_pid, and said: how much was said before.  $1: how crashed files are recovered.
start() # tool|open live|verify
{
    said=$(wc -l <"$folder/said")
    : >"$folder/stderr"
    "$here/machine" run "$logs/machine" "$image" "$fs" "$folder" "$1" "$writer" "$2" "/mnt/pmem/$round" /host "$seed" &
    vm_pid=$!
}

# The machine has ended by itself: the writer's status.
ended()
{
    local status
    wait "$vm_pid"
    status=$(sed -n 's/^exit //p' "$folder/status")
    [ -n "$status" ] || cat "$folder/console" "$folder/qemu" >>"$logs/$fs-boots.log"
    return "${status:-125}"
}

# Start the writer, and cut its power:
#   cut_at writing N MS      when N transactions more are acknowledged, and then after MS
#   cut_at recovering 0 MS   MS after it began to recover; as above, with N = 20, if it does not
#   cut_at opening 0 MS      the same, but those who open the files recover them
# The cut is a SIGKILL of the virtual machine.  0: it was cut; else it ended by itself, with
# its status.
cut_at()
{
    local awaited=$1 more=$2 delay=$3 from vm_pid said way=tool until=$((SECONDS + 300))
    case $awaited in
    writing)
        below 2
        [ "$drawn" -eq 0 ] || way=open
        ;;
    recovering) more=20 ;;
    opening) more=20 way=open ;;
    esac
    from=$(acknowledged)
    start $way live
    until hit; do
        kill -0 "$vm_pid" 2>/dev/null || { ended; return; }
        if ((SECONDS >= until)); then
            printf 'nothing to cut for 300 s\n' >>"$folder/stderr"
            break
        fi
        sleep 0.03
    done
    sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
    kill -KILL "$vm_pid"
    wait "$vm_pid" 2>/dev/null
    return 0
}

# Whether it is time for cut_at.
hit()
{
    local phases
    phases=$(tail -n +$((said + 1)) "$folder/said" | awk '{ print $2 }' | sort -u | tr '\n' ' ')
    case $phases in
    *writing*) (($(acknowledged) >= from + more)) ;;
    *recovering*) [ "$awaited" = recovering ] ;;
    *verifying*) [ "$awaited" = opening ] ;;
    *) false ;;
    esac
}

# By all loads, in this round.
acknowledged()
{
    cat "$folder"/{core,sql,grow} 2>/dev/null | wc -l
}

verify()
{
    local vm_pid said
    start open verify
    ended
}

begin_round()
{
    folder=$base/$round
    mkdir -p "$folder"
    : >"$folder/said"
}

# An image with a new file system, made once; and the machine, saved once.
image_new()
{
    local folder=$logs/$fs-make
    mkdir -p "$folder"
    [ -s "$logs/$fs.new" ] || guest "$folder" --image "$logs/$fs.new" -- true ||
        { cat "$folder/stderr"; exit 1; }
    [ -s "$logs/machine/state" ] ||
        "$here/machine" make "$logs/machine" "$bin/dax_writer" "$bin/dax_broken_writer" || exit 1
    image=$(mktemp /dev/shm/nvmmio-dax.XXXXXX)
    cp --sparse=always "$logs/$fs.new" "$image"
    random=$((seed & 0x7fffffff))
}

# Without a cut.
final_verify()
{
    verify
    local status=$?
    if [ $status -ne 0 ] || [ -s "$folder/stderr" ]; then
        failure "verifying round $round" $status
        return 1
    fi
}

failure() # WHAT STATUS
{
    bad "$1 on $fs: status $2; seed $seed; the image is ${logs#"$top/"}/$fs.image" "$folder/stderr"
    printf '    what was said last:\n'
    tail -n 12 "$folder/said" | sed 's/^/    /'
    mv "$image" "$logs/$fs.image"
}

# Stills of a writer that leaves out $1, until one of them lacks something.
broken_caught()
{
    local base=$logs/$fs-broken-$1 round=0 writer=dax_broken_writer folder vm_pid said
    local taken=0 status=0
    mkdir -p "$base"
    export NVMMIO_TEST_BROKEN=$1
    image_new
    while ((taken < 200 && status == 0)); do
        round=$((round + 1))
        begin_round
        life 400 200
    done
    unset NVMMIO_TEST_BROKEN
    rm -f "$image" "$image.still"
    if [ $status -eq 99 ]; then
        sed 's/^/    /' "$base/still-$taken/stderr"
        good "$1 left out on $fs: found by still $taken"
    else
        bad "$1 left out on $fs: $taken stills have not found it, status $status" "$folder/stderr"
    fi
}

# A transaction that was acknowledged and is not there.
lost_caught()
{
    local base=$logs/$fs-broken-lost round=0 folder load number
    image_new
    begin_round
    if ! cut_at writing 10 0 || ! verify; then
        failure 'before an acknowledgement was added' $?
        return
    fi
    for load in core sql grow; do
        cp "$folder/$load" "$folder/$load.true"
        number=$(last $load)
        printf '%20d\n' $((number + 1)) >>"$folder/$load"
        if verify || ! grep "LOST: transaction $((number + 1)) was acknowledged" "$folder/stderr"; then
            bad "one more acknowledged than written, $load on $fs: not found" "$folder/stderr"
        else
            good "one more acknowledged than written, $load on $fs: found"
        fi
        mv "$folder/$load.true" "$folder/$load"
    done
    rm -f "$image"
}

# Cuts of a writer that leaves out $1, until one of the next lives lacks something.
broken_cut_caught()
{
    local base=$logs/$fs-broken-cut-$1 round=0 writer=dax_broken_writer folder
    local taken=0 status=0
    mkdir -p "$base"
    export NVMMIO_TEST_BROKEN=$1
    image_new
    while ((taken < 60 && status == 0)); do
        ((taken % 3)) || { round=$((round + 1)); begin_round; } # the first life is alone
        taken=$((taken + 1))
        below 2000
        cut_at writing 10 "$drawn"
        status=$?
    done
    unset NVMMIO_TEST_BROKEN
    rm -f "$image"
    if [ $status -eq 99 ]; then
        sed 's/^/    /' "$folder/stderr"
        good "$1 left out on $fs: found after cut $((taken - 1))"
    else
        bad "$1 left out on $fs: $taken cuts have not found it, status $status" "$folder/stderr"
    fi
}

part_broken()
{
    lost_caught
    broken_caught map_sync
    broken_cut_caught map_sync
}
