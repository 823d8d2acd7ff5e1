#!/usr/bin/env bash
# Fails when clang-format would change a C++ file of the repository. scripts/format.sh repairs.
#
#   check_format.sh [FILE...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
formatter=$(command -v clang-format-14 || command -v clang-format) || {
  echo "format: clang-format is missing (deps/test.txt)" >&2
  exit 1
}
if (($#)); then
  files=("$@")
elif [[ -e .git ]]; then
  mapfile -d '' -t listed < <(git -c safe.directory='*' ls-files -z --cached --others --exclude-standard -- '*.h' '*.cpp')
  files=()
  for file in "${listed[@]}"; do
    [[ ! -f $file ]] || files+=("$file")
  done
else
  mapfile -d '' -t files < <(find . -path ./build -prune -o \( -name '*.h' -o -name '*.cpp' \) -print0)
fi
if ((${#files[@]})); then
  "$formatter" --dry-run -Werror --style=file:"$root/.clang-format" "${files[@]}"
fi
echo "format: ${#files[@]} files, no problems"
