#!/usr/bin/env bash
# Plots of the figures that `benchmarks/run full` left in a directory.
# usage: benchmarks/plot.sh REPORT-DIRECTORY
set -euo pipefail
[ $# -eq 1 ] || { printf 'usage: benchmarks/plot.sh REPORT-DIRECTORY\n' >&2; exit 2; }
cd "$1"
if ! command -v gnuplot >/dev/null; then
    printf 'no gnuplot here: no plots\n'
    exit 0
fi

# "workload mode rate" from the JSON of sqlite_bench, as a table with a column for each mode.
for figures in sqlite-*.json; do
    [ -e "$figures" ] || continue
    name=${figures%.json}
    by=transactions_per_cpu_second
    [ "$name" != sqlite-page ] || by=transactions_per_second
    python3 - "$figures" $by >"$name.dat" <<'END'
import json, sys
rates = json.load(open(sys.argv[1]))["rates"]
workloads = list(dict.fromkeys(r["workload"] for r in rates))
modes = list(dict.fromkeys(r["mode"] for r in rates))
wal = {r["workload"]: r[sys.argv[2]] for r in rates if r["mode"] == "unix WAL"}
print("workload", *('"%s"' % m for m in modes))
for w in workloads:
    of = {r["mode"]: r[sys.argv[2]] for r in rates if r["workload"] == w}
    print(w, *("%.3f" % (of[m] / wal[w]) for m in modes))
END
    gnuplot <<END
set terminal pngcairo size 900,500
set output "$name.png"
set title "SQLite, ${by//_/ }, to unix WAL with synchronous=FULL"
set style data histograms
set style fill solid 0.8
set key outside bottom center horizontal
set grid ytics
set yrange [0:*]
plot for [i=2:6] "$name.dat" using i:xtic(1) title columnheader(i)
END
done
for figures in core-*.json; do
    [ -e "$figures" ] || continue
    name=${figures%.json}
    for bytes in 4096 1024; do
        python3 - "$figures" $bytes >"$name-$bytes.dat" <<'END'
import json, sys
for r in json.load(open(sys.argv[1])):
    if r["name"] == "mix" and r["piece_bytes"] == int(sys.argv[2]):
        print(100 - r["reads_percent"], r["nvmmio_us"], r["undo_us"], r["redo_us"])
END
        [ -s "$name-$bytes.dat" ] || continue
        gnuplot <<END
set terminal pngcairo size 900,500
set output "$name-$bytes.png"
set title "$bytes bytes at random places of 1 GiB"
set xlabel "writes, % (each synced)"
set ylabel "microseconds an operation"
set key outside bottom center horizontal
set grid
set yrange [0:*]
plot "$name-$bytes.dat" using 1:2 with linespoints title "nvmmio", \
    "" using 1:3 with linespoints title "undo log", \
    "" using 1:4 with linespoints title "redo log with merge on read"
END
    done
done
printf 'plots: %s\n' "$(printf '%s ' *.png)"
