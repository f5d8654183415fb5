#!/bin/sh
# run_target.sh TARGET CORPUS FOUND SECONDS: runs a libFuzzer target; new inputs and crashes go to FOUND.
set -e
[ -x "$1" ] || { echo "$1 is not built: ninja fuzzers" >&2; exit 1; }
target=$(realpath "$1")
mkdir -p "$3"
cd "$3"
# A finding is status 77, which would be taken for a test that was skipped. What was found comes last, with the input.
"$target" -max_total_time="$4" -rss_limit_mb=1024 -print_final_stats=1 -max_len=20000 "$3" "$2" >"$3.log" 2>&1 || {
  cat "$3.log"
  grep -v -e '^#' -e '^INFO' -e 'NEW_FUNC' "$3.log" | head -n 3
  grep '^Base64' "$3.log"
  exit 1
}
tail -n 8 "$3.log"
