#!/usr/bin/env bash
# The main job of millrace from end to end, on this machine: builds, then starts a broker, two workers
# and a small web site, and walks through what a user does with them.
#
#   ./demo.sh [--data FOLDER]     FOLDER: where the queue's file and the logs stay (default: a new one
#                                 in demo-data/)
#
# Under a minute after the build. Ctrl-C ends it and everything it started; the data stays.
# Exit: 0 all as expected · 1 something was not (it says what) · 64 usage · 130, 143 interrupted
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly bin=$PWD/build/release/bin
data=
declare -A running=() # name -> process id of what this script started

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
else
  bold='' dim='' plain=''
fi

step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s\n' "$*"; }
# Shows a command as a user would type it, then runs it.
show() {
  local word line
  line=$(basename "$1")
  for word in "${@:2}"; do
    [[ $word =~ ^[[:alnum:]_./:=,+@-]+$ ]] || word="'$word'"
    line+=" $word"
  done
  printf '%s$ %s%s\n' "$dim" "$line" "$plain"
  "$@"
}
fail() {
  printf '\ndemo: %s\n' "$*" >&2
  [[ -z $data ]] || printf 'demo: the logs are in %s\n' "$data" >&2
  exit 1
}

usage() { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

# ------------------------------------------------------------------------ processes of this script

# start NAME COMMAND...: in the background, its output in the data folder.
start() {
  local name=$1
  shift
  "$@" >>"$data/$name.out" 2>>"$data/$name.err" </dev/null &
  running[$name]=$!
}

alive() { kill -0 "$1" 2>/dev/null; }

# ended NAME SECONDS: waits for it to end by itself and returns its exit code; 124 when it does not.
ended() {
  local name=$1 pid=${running[$1]} left=$(($2 * 20)) code=0
  while alive "$pid" && ((left-- > 0)); do sleep 0.05; done
  ! alive "$pid" || return 124
  wait "$pid" || code=$?
  unset "running[$name]"
  return "$code"
}

# stop NAME SECONDS: SIGTERM, and SIGKILL when that does not help.
stop() {
  local name=$1 code=0
  [[ -n ${running[$name]:-} ]] || return 0
  kill -TERM "${running[$name]}" 2>/dev/null || true
  ended "$name" "$2" || code=$?
  if ((code == 124)); then
    kill -KILL "${running[$name]}" 2>/dev/null || true
    wait "${running[$name]}" 2>/dev/null || true
    unset "running[$name]"
  fi
  return "$code"
}

clean_up() {
  trap '' INT TERM
  local name
  # The broker last: workers say goodbye to it.
  for name in "${!running[@]}"; do
    [[ $name == broker ]] || stop "$name" 5 || true
  done
  stop broker 10 || true
}
trap 'code=$?; clean_up; exit "$code"' EXIT
trap 'printf "\ndemo: interrupted; the data stays in %s\n" "${data:-(none yet)}" >&2; exit 130' INT
trap 'exit 143' TERM

# line_of FILE PATTERN NAME: waits for a line of FILE, prints it. NAME must stay alive meanwhile.
line_of() {
  local tries=200
  while ((tries-- > 0)); do
    if grep -m 1 -e "$2" "$1" 2>/dev/null; then return 0; fi
    alive "${running[$3]}" || break
    sleep 0.05
  done
  tail -n 5 "$data/$3.err" >&2 || true
  return 1
}

# ------------------------------------------------------------------------ checks

# expect CODE COMMAND...: shows and runs it; another exit code ends the demo.
expect() {
  local wanted=$1 code=0
  shift
  show "$@" || code=$?
  ((code == wanted)) || fail "$(basename "$1") ended with $code instead of $wanted"
}

sql() {
  printf '%s$ sqlite3 -readonly %s "%s"%s\n' "$dim" "$(basename "$database")" "$*" "$plain"
  sqlite3 -readonly -header -column "$database" "$*"
}
ask() { sqlite3 -readonly "$database" "$*"; }

# ------------------------------------------------------------------------ the walk

prepare() {
  step "packages and build"
  scripts/install_deps.sh build run demo
  mkdir -p build
  note "building (the first time takes some minutes; build/demo-build.log tells how far it is)"
  if ! { cmake --preset release &&
    cmake --build --preset release --target millrace-broker millrace-worker millrace-producer; } \
    >build/demo-build.log 2>&1; then
    tail -n 40 build/demo-build.log >&2
    fail "the build failed; all of it is in build/demo-build.log"
  fi
  note "programs: build/release/bin/"
  if [[ -z $data ]]; then
    mkdir -p demo-data
    data=$(mktemp -d "$PWD/demo-data/$(date +%Y%m%d-%H%M%S)-XXXX")
  else
    mkdir -p "$data"
    data=$(cd "$data" && pwd)
  fi
  database=$data/millrace.db
  [[ ! -e $database ]] || fail "$database exists already; name another folder"
}

start_all() {
  step "a broker, two workers, and a web site to check"
  # The port is a free one, which the broker says when it serves.
  start broker "$bin/millrace-broker" --listen 'tcp://127.0.0.1:*' --db "$database"
  local ready
  ready=$(line_of "$data/broker.err" 'ready ' broker) || fail "the broker does not start"
  MILLRACE_BROKER=$(sed -E 's/.*ready ([^ ]+).*/\1/' <<<"$ready")
  export MILLRACE_BROKER
  note "broker at $MILLRACE_BROKER, its file is $database"
  start worker-1 "$bin/millrace-worker" --name worker-1
  start worker-2 "$bin/millrace-worker" --name worker-2
  start site examples/site/site.py --urls "$data/urls.txt"
  line_of "$data/site.out" '^listening' site >/dev/null || fail "the web site does not start"
  note "web site on port $(awk '{print $2}' "$data/site.out")"
  local tries=100
  until [[ $("$bin/millrace-producer" worker ls --output jsonl | wc -l) -ge 2 ]]; do
    ((tries-- > 0)) || fail "the workers do not reach the broker"
    sleep 0.1
  done
  show "$bin/millrace-producer" worker ls
}

check_urls() {
  step "check a list of URLs: each status as it arrives"
  note "(exit code 1 is right here: three of them can have no status)"
  expect 1 "$bin/millrace-producer" urls "$data/urls.txt" --timeout 3s
}

find_primes() {
  step "primes up to 1,000,000, split over both workers"
  local count
  expect 0 "$bin/millrace-producer" primes 1 1000000 >"$data/primes.txt"
  cat "$data/primes.txt"
  count=$(tail -n 1 "$data/primes.txt")
  [[ $count == 78498 ]] || fail "there are 78498 primes up to 1,000,000, not $count"
}

fail_and_retry() {
  step "a job that fails twice and then succeeds, and one that never does"
  expect 0 "$bin/millrace-producer" enqueue fail '{"times": 2, "message": "not yet"}' --wait
  expect 1 "$bin/millrace-producer" enqueue fail '{"message": "this one cannot"}' --max-attempts 2 --wait
}

close_queue() {
  step "close the queue: when its last job is finished, the workers go home"
  expect 0 "$bin/millrace-producer" close default --wait
  local name code
  for name in worker-1 worker-2; do
    code=0
    ended "$name" 10 || code=$?
    ((code == 0)) || fail "$name did not leave with 0 ($code)"
    note "$name has left: $(tail -n 1 "$data/$name.err")"
  done
}

ask_file() {
  step "what happened, asked of the file in plain SQL while the broker runs"
  sql "SELECT kind, state, count(*) AS jobs, sum(attempts) AS attempts FROM jobs GROUP BY 1, 2 ORDER BY 1, 2"
  note ""
  sql "SELECT id, kind, attempts, substr(error, 1, 40) AS error FROM jobs WHERE state = 'dead' ORDER BY id"
  note ""
  sql "SELECT job, attempt, worker, outcome, substr(error, 1, 30) AS error FROM attempts ORDER BY job DESC, attempt DESC LIMIT 5"
  dead=$(ask "SELECT count(*) FROM jobs WHERE state = 'dead'")
  ((dead == 4)) || fail "four jobs must be dead (refused, reset, unknown host, and the last one), not $dead"
}

replay_failed() {
  step "replay the failed ones: first only look, then for real, with a new worker"
  expect 0 "$bin/millrace-producer" replay --state dead --dry-run
  # The queue was closed and drained: the first job of the replay opens its next generation.
  expect 0 "$bin/millrace-producer" replay --state dead
  # `empty`: it leaves when nothing is ready. Retries that wait for their time bring no one back, so
  # it is started until they are through.
  local open_jobs=1 tries=20 code
  while ((open_jobs && tries-- > 0)); do
    code=0
    start worker-3 "$bin/millrace-worker" --name worker-3 --until empty
    ended worker-3 20 || code=$?
    ((code == 0)) || fail "worker-3 ended with $code"
    open_jobs=$(ask "SELECT count(*) FROM jobs WHERE state IN ('ready', 'leased', 'scheduled', 'blocked')")
    ((open_jobs == 0)) || sleep 0.3
  done
  ((open_jobs == 0)) || fail "$open_jobs replayed jobs are still open"
  sql "SELECT id, replay_of, kind, state, attempts, substr(error, 1, 40) AS error FROM jobs WHERE replay_of IS NOT NULL ORDER BY id"
  local replayed
  replayed=$(ask "SELECT count(*) FROM jobs WHERE replay_of IS NOT NULL")
  ((replayed == dead)) || fail "$dead jobs were to be replayed, $replayed were"
}

finish() {
  step "stop"
  stop site 5 || fail "the web site did not stop cleanly"
  stop broker 20 || fail "the broker did not stop cleanly"
  note "The queue's file:   $database"
  note "Logs of each part:  $data/*.err"
  note "Ask it yourself:    sqlite3 -readonly $database 'SELECT * FROM jobs'"
  note "Programs:           $bin"
  printf '\ndemo: all as expected, %d s after the build\n' $((SECONDS - started))
}

main() {
  while (($#)); do
    case $1 in
      --data)
        [[ -n ${2:-} ]] || { usage >&2 && exit 64; }
        data=$2
        shift
        ;;
      -h | --help) usage && exit 0 ;;
      *) printf 'demo: unknown option %s\n' "$1" >&2 && exit 64 ;;
    esac
    shift
  done
  local started dead=0 database
  # What the caller has set for other brokers must not lead the demo there.
  local name
  for name in "${!MILLRACE_@}"; do unset "$name"; done
  prepare
  started=$SECONDS
  start_all
  check_urls
  find_primes
  fail_and_retry
  close_queue
  ask_file
  replay_failed
  finish
}

main "$@"
