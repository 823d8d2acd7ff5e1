#!/usr/bin/env bash
# Builds the release preset and runs a kind whose processes crash at random, one run in ten, beside a
# kind that does not, on one worker; then the same with a first kind that never crashes.
#
#   bench/crashes.sh [--jobs N] [--rounds N]
#
#   --jobs      of the kind that crashes (default: 10000)
#   --rounds    medians of so many rounds (default: 3)
#
# Exit: 0 · 1 a job ended wrongly, or something was left behind · 64 usage · 69 packages are missing and
# cannot be installed · else what failed
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/build_for.sh"
help_or_build "$@" -- millrace-broker millrace-worker millrace-producer
exec /usr/bin/python3 -B "$repository/bench/crashes.py" --bin "$build/bin" "$@"
