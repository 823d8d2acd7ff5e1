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

source "$(dirname "${BASH_SOURCE[0]}")/build_for.sh"
help_or_build "$@" -- millrace-url-site millrace-broker millrace-worker millrace-producer
exec /usr/bin/python3 -B "$repository/bench/url_check.py" --bin "$build/bin" "$@"
