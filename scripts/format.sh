#!/usr/bin/env bash
# Formats every C++ file of the repository in place, or the files named.
#
#   scripts/format.sh [FILE...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
formatter=$(command -v clang-format-14 || command -v clang-format)
if (($#)); then
  "$formatter" -i "$@"
else
  git ls-files -z --cached --others --exclude-standard -- '*.h' '*.cpp' |
    xargs -0 --no-run-if-empty "$formatter" -i
fi
