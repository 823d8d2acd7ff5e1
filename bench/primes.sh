#!/usr/bin/env bash
# Builds the release preset and counts the primes of a range: by `millrace-producer primes` over two
# workers of one thread each, and by libprimesieve alone with two threads.
#
#   bench/primes.sh [--to N] [--rounds N]
#
#   --to        count from 1 to here (default: 10000000000)
#   --rounds    medians of so many rounds (default: 5)
#
# Exit: 0 · 64 usage · 69 packages are missing and cannot be installed · else what failed
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/build_for.sh"
help_or_build "$@" -- millrace-primes-alone millrace-broker millrace-worker millrace-producer
exec /usr/bin/python3 -B "$repository/bench/primes.py" --bin "$build/bin" "$@"
