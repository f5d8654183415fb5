#!/bin/sh
# run_target.sh TARGET CORPUS FOUND SECONDS: runs a libFuzzer target; new inputs and crashes go to FOUND.
set -e
[ -x "$1" ] || { echo "$1 is not built: ninja fuzzers" >&2; exit 1; }
target=$(realpath "$1")
mkdir -p "$3"
cd "$3"
# A finding is status 77, which would be taken for a test that was skipped.
"$target" -max_total_time="$4" -rss_limit_mb=1024 -print_final_stats=1 -max_len=20000 "$3" "$2" || exit 1
