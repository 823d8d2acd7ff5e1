#!/usr/bin/env bash
# All tests of millrace, from nothing: installs what is missing (Debian 12), builds, runs.
#
#   ./test.sh            release build with every test, the simulator and the crash points, then
#                        address and thread sanitizers
#   ./test.sh --quick    release build with every test, the simulator and the crash points
#
# A second run uses no network, and what ccache remembers. Exit: 0 all passed · 1 a phase failed (it
# is named at the end) · 64 usage · what scripts/install_deps.sh says when packages cannot be had
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 70

# The sanitizer builds run what drives memory and threads hard; the other tests spend their time in
# processes and clocks, and the release build has run them already. The thread sanitizer has nothing
# to see in tests of one thread.
readonly memory_labels='^(unit|contract|threads)$'
readonly thread_labels='^threads$'

quick=no
for argument in "$@"; do
  case $argument in
    --quick) quick=yes ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" && exit 0 ;;
    *) printf 'test.sh: unknown option %s; see ./test.sh --help\n' "$argument" >&2 && exit 64 ;;
  esac
done

phases=()
failed_phases=()
skipped=()
tests_total=0
tests_failed=0

heading() { printf '\n=== %s\n' "$*"; }

# Runs one phase and notes how long it took: phase NAME COMMAND...
phase() {
  local name=$1 started=$SECONDS code=0
  shift
  heading "$name"
  "$@" || code=$?
  local line
  line=$(printf '%-18s %4d s  %s' "$name" $((SECONDS - started)) "$([[ $code == 0 ]] && echo ok || echo FAILED)")
  phases+=("$line")
  [[ $code == 0 ]] || failed_phases+=("$name")
  return "$code"
}

# build PRESET [options of cmake --build...]
build() { cmake --preset "$1" -Wno-dev && cmake --build --preset "$@"; }

# Runs ctest of one preset and adds its closing line to the sum: run_tests PRESET [ctest options...]
run_tests() {
  local preset=$1 log code=0 failed total
  shift
  log=build/$preset/test.log
  local -a launcher=()
  # g++ 12's thread sanitizer cannot lay out its shadow memory under the 32 random bits that newer
  # kernels give to addresses.
  if [[ $preset == tsan && $(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 28) -gt 28 ]]; then
    launcher=(setarch -R)
  fi
  "${launcher[@]}" ctest --preset "$preset" -j "$(nproc)" "$@" 2>&1 | tee "$log"
  code=${PIPESTATUS[0]}
  read -r failed total < <(sed -nE 's/.*tests passed, ([0-9]+) tests failed out of ([0-9]+).*/\1 \2/p' "$log" | tail -n 1)
  mapfile -t -O "${#skipped[@]}" skipped < <(sed -nE 's/^[[:space:]]*[0-9]+ - (.*) \((Skipped|Not Run)\)$/'"$preset"': \1/p' "$log")
  tests_failed=$((tests_failed + ${failed:-0}))
  tests_total=$((tests_total + ${total:-0}))
  return "$code"
}

finish() {
  heading "phases"
  ((${#phases[@]})) && printf '%s\n' "${phases[@]}"
  printf '%-18s %4d s\n' "all" "$SECONDS"
  if [[ $quick == yes ]]; then
    printf '\nNOTE: --quick: the address and thread sanitizer builds were SKIPPED.\n'
  fi
  if ((${#skipped[@]})); then
    printf '\nNOTE: ctest counts these as passed, but they were SKIPPED:\n'
    printf '  %s\n' "${skipped[@]}"
  fi
  if ((${#failed_phases[@]})); then
    printf '\nFAILED: %s\n' "$(IFS=, && printf '%s' "${failed_phases[*]}")"
  fi
  printf '\n'
  if ((tests_total)); then
    local passed=$((tests_total - tests_failed))
    printf '%d%% tests passed, %d tests failed out of %d\n' \
      $((passed * 100 / tests_total)) "$tests_failed" "$tests_total"
  fi
  ((${#failed_phases[@]} == 0))
  exit
}

phase "packages" scripts/install_deps.sh build run test
code=$?
if ((code)); then
  exit "$code"
fi

# The lint tests read the compile commands of the clang build; writing them compiles nothing.
phase "build release" build release || finish
phase "configure tidy" cmake --preset tidy -Wno-dev || finish
phase "test release" run_tests release

# The instrumented build has what only it can show: planted bugs and crash points.
phase "build sim" build sim --target instrumented || finish
phase "test sim" run_tests sim -L '^(simulation|crash)$'

if [[ $quick == no ]]; then
  phase "build asan" build asan --target sanitized || finish
  phase "test asan" run_tests asan -L "$memory_labels"
  phase "build tsan" build tsan --target threaded || finish
  phase "test tsan" run_tests tsan -L "$thread_labels"
fi
finish
