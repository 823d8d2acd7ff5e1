#!/usr/bin/env bash
# Builds the release preset and measures `url.check` on the event loop against a local site that
# answers each request after 50 ms: beside `curl --parallel`, the thread pool, and Python threads.
#
#   bench/url_check.sh [--urls N] [--delay MS] [--rounds N] [--json FILE]
#
#   --urls      checks in each run (default: 20000)
#   --delay     after which the site answers, in ms (default: 50)
#   --rounds    medians of so many rounds (default: 3)
#   --json      write the figures to this file
#
# Exit: 0 · 64 usage · 69 packages are missing and cannot be installed · else what failed
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$repository/build/release

main() {
  local option
  for option in "$@"; do
    case $option in
      -h | --help) sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" && exit 0 ;;
    esac
  done
  "$repository/scripts/install_deps.sh" build run
  local -a tests=()
  # It needs no tests; a build that has them keeps them.
  grep -qs '^MILLRACE_BUILD_TESTS:.*=ON$' "$build/CMakeCache.txt" ||
    tests=(-DMILLRACE_BUILD_TESTS=OFF)
  printf 'url_check: building build/release\n' >&2
  (cd "$repository" &&
    cmake --preset release -DMILLRACE_BUILD_BENCH=ON "${tests[@]}" >/dev/null &&
    cmake --build --preset release --target millrace-url-site millrace-broker millrace-worker \
      millrace-producer >&2)
  exec python3 -B "$repository/bench/url_check.py" --bin "$build/bin" "$@"
}

main "$@"
