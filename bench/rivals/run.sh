#!/usr/bin/env bash
# Measures other job queues on this machine, each by its best documented client path: installs what is
# missing (Debian 12), builds the clients into build/rivals, starts private servers, prints a table.
#
#   bench/rivals/run.sh [--only NAME,...] [--workloads W,...] [--quick] [--json FILE]
#
#   --only NAME,...     subjects, or how their names begin: redis, rabbitmq-quorum (default: all)
#   --workloads W,...   W1 enqueue · W1s one at a time · W2 drain by two workers · W3 latency
#                       (default: all)
#   --quick             a tenth of the jobs, one round
#   --json FILE         also write [{"workload", "subject", "metric", "value", "unit"}, ...]
#
# Servers keep their files in TMPDIR (default: /var/tmp) while they run; let it be on the disk that is
# to be measured. Without node and npm, BullMQ is left out.
#
# Exit: 0 all measured · 1 a subject failed (it is named at the end) · 64 usage · 69 packages cannot
# be had, or a client does not build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly build=build/rivals
readonly bullmq=bench/rivals/bullmq

say() { printf 'rivals: %s\n' "$*" >&2; }

# Debian starts a service when its package is installed, unless this file says no.
install_without_services() (
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  scripts/install_deps.sh build rivals
)

install_packages() {
  if scripts/install_deps.sh --check build rivals >/dev/null 2>&1; then return 0; fi
  if [[ $(id -u) -ne 0 ]]; then
    say "packages are missing; run this once as root, or install what deps/build.txt and deps/rivals.txt name"
    return 69
  fi
  install_without_services
}

# BullMQ comes from npm's registry, as pinned by the lock file; scripts of packages do not run.
install_bullmq() {
  local folder=$build/bullmq
  command -v node >/dev/null && command -v npm >/dev/null || return 0
  mkdir -p "$folder"
  if [[ ! -d $folder/node_modules ]] || ! cmp -s "$bullmq/package-lock.json" "$folder/package-lock.json"; then
    cp "$bullmq/package.json" "$bullmq/package-lock.json" "$folder"
    if ! npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund >"$folder/npm.log" 2>&1; then
      say "npm cannot install BullMQ; see $folder/npm.log"
      rm -rf "$folder/node_modules" "$folder/package-lock.json"
      return 0
    fi
  fi
  cp "$bullmq/bullmq_client.mjs" "$folder"
}

measure() { /usr/bin/python3 -B bench/rivals/measure.py --build "$PWD/$build" "$@"; }

options=()
while (($#)); do
  case $1 in
    --quick) options+=("$1") ;;
    --only | --workloads | --json)
      (($# > 1)) || { say "$1 needs a value; see --help" && exit 64; }
      # A file name is meant from where the caller stands.
      if [[ $1 == --json && $2 != /* ]]; then options+=("$1" "$OLDPWD/$2"); else options+=("$1" "$2"); fi
      shift
      ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' bench/rivals/run.sh && exit 0 ;;
    *) say "unknown option $1; see --help" && exit 64 ;;
  esac
  shift
done

install_packages || exit 69
measure --check "${options[@]}"
make --no-print-directory -s -f bench/rivals/Makefile OUT="$build" || exit 69
install_bullmq
measure "${options[@]}"
