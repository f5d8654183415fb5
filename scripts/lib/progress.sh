# Long steps with their elapsed time. Colour and a moving line on a terminal only.
# Sourced; needs $root.

if [ -t 1 ]; then bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'; else bold= red= green= plain=; fi

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "${red}$*${plain}" >&2; exit 1; }

# step TEXT COMMAND...: runs the command with its output in build-logs/, says how long it took, and
# shows the end of the output when it fails.
step() {
  local text=$1; shift
  mkdir -p "$root/build-logs"
  local log; log="$root/build-logs/$(printf '%s' "$text" | tr -cs 'A-Za-z0-9' '-').log"
  local begin=$SECONDS told=0 status=0
  "$@" >"$log" 2>&1 </dev/null &
  local pid=$!
  # An interrupted script must not leave its step running.
  trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    local elapsed=$((SECONDS - begin))
    if [ -t 1 ]; then
      printf '\r\e[K  %s ... %d s  %.60s' "$text" "$elapsed" "$(tail -n1 "$log" | tr -d '\r')"
    elif [ "$elapsed" -ge $((told + 20)) ]; then
      told=$elapsed
      printf '  %s ... %d s  %.80s\n' "$text" "$elapsed" "$(tail -n1 "$log")"
    fi
    sleep 0.2  # the pace of the display; the step ends the loop, not the clock
  done
  wait "$pid" || status=$?
  trap - INT TERM
  if [ -t 1 ]; then printf '\r\e[K'; fi
  if [ "$status" -ne 0 ]; then
    tail -n 40 "$log" >&2
    fail "$text failed (status $status); all of its output: $log"
  fi
  printf '%s\n' "  ${green}done${plain} $text ($((SECONDS - begin)) s)"
}
