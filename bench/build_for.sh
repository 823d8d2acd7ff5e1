# shellcheck shell=bash
# Sourced by the benchmarks that are scripts; sets `repository` and `build`.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$repository/build/release

# help_or_build OPTIONS... -- TARGETS...: shows the head of the script that calls it, if that is asked
# for; else builds these targets of the release preset. They need no tests; a build that has them keeps
# them.
help_or_build() {
  local script=${BASH_SOURCE[1]} option
  local -a tests=()
  while option=$1 && shift && [[ $option != -- ]]; do
    case $option in
      -h | --help) sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$script" && exit 0 ;;
    esac
  done
  "$repository/scripts/install_deps.sh" build run
  grep -qs '^MILLRACE_BUILD_TESTS:.*=ON$' "$build/CMakeCache.txt" ||
    tests=(-DMILLRACE_BUILD_TESTS=OFF)
  printf '%s: building build/release\n' "$(basename "$script" .sh)" >&2
  (cd "$repository" &&
    cmake --preset release -DMILLRACE_BUILD_BENCH=ON "${tests[@]}" >/dev/null &&
    cmake --build --preset release --target "$@" >&2)
}
