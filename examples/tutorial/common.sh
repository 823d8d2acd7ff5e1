# What every example does: a broker and workers of its own on a socket of its own, in a folder of its
# own, all of which are gone when it ends, however it ends. Sourced, not run.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${MILLRACE_BIN_DIR:-$root/build/release/bin}
if [[ ! -x $bin/millrace-broker ]]; then
  echo "there is no $bin/millrace-broker: build first, or set MILLRACE_BIN_DIR" >&2
  exit 66
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/millrace-example-XXXXXX")
# A worker that is root starts programs as another user, who has to read what is in there.
chmod 755 "$folder"
export MILLRACE_BROKER=ipc://$folder/broker
running=()

clean_up() {
  trap '' INT TERM
  local i
  # The broker was first and goes last: workers say goodbye to it.
  for ((i = ${#running[@]} - 1; i >= 0; --i)); do
    kill -TERM "${running[i]}" 2>/dev/null || true
    wait "${running[i]}" 2>/dev/null || true
  done
  rm -rf "$folder"
}
leave() {
  local code=$?
  clean_up
  exit "$code"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME COMMAND...: in the background; its output is in $folder/NAME.log.
start() {
  local name=$1
  shift
  "$@" >>"$folder/$name.log" 2>&1 </dev/null &
  running+=($!)
}

start_broker() {
  start broker "$bin/millrace-broker" --listen "$MILLRACE_BROKER" --db "$folder/millrace.db"
}
# Returns when the worker is connected, so that nothing but the jobs is measured afterwards.
start_worker() {
  local name=$1 tries=200
  shift
  start "$name" "$bin/millrace-worker" --name "$name" "$@"
  until grep -q 'connected to the broker' "$folder/$name.log"; do
    if ((tries-- == 0)) || ! kill -0 "${running[-1]}" 2>/dev/null; then
      cat "$folder/$name.log" >&2
      exit 1
    fi
    sleep 0.05
  done
}
producer() { "$bin/millrace-producer" "$@"; }
# The same without the line that sums up.
quiet_producer() { producer --log-level warn "$@"; }

step() { printf '\n== %s\n' "$*"; }
now_us() { printf '%s' "${EPOCHREALTIME//[!0-9]/}"; }
# seconds_since MICROSECONDS: with one digit behind the point, rounded.
seconds_since() {
  local tenths=$((($(now_us) - $1 + 50000) / 100000))
  printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}
