#!/usr/bin/env bash
# Builds the release preset with the benchmark, and runs it: rates, latencies, CPU and memory of a
# real broker with real workers, beside what the disk, SQLite and ZeroMQ allow on this machine.
#
#   bench/run.sh [--quick] [--only W1,W2,...] [--rounds N] [--json FILE] [--rivals FILE] [--backlog N,...]
#
#   --quick     a tenth of the jobs, one round
#   --only      these workloads: limits, W1, W1s, W2, W3, W4, W5, W6, W7
#   --rounds    medians of so many rounds (default: 3)
#   --json      write the figures to this file
#   --rivals    figures of other queues, shown beside (default: bench/rivals/results.json if it exists)
#   --backlog   jobs that wait in W4 (default: 100000,1000000)
#
# TMPDIR says where the databases go; it should be on a disk.
# Exit: 0 · 64 usage · 69 packages are missing and cannot be installed · else what failed
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/build_for.sh"
help_or_build "$@" -- millrace-bench

rivals=()
[[ ! -f $repository/bench/rivals/results.json ]] ||
  rivals=(--rivals "$repository/bench/rivals/results.json")
for option in "$@"; do
  case $option in
    --rivals | --rivals=*) rivals=() ;;
  esac
done
exec "$build/bin/millrace-bench" "${rivals[@]}" "$@"
