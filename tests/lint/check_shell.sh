#!/usr/bin/env bash
# Runs shellcheck over every shell script of the repository: *.sh and files with a sh or bash shebang.
#
#   check_shell.sh [FILE...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
if ! command -v shellcheck >/dev/null; then
  echo "shell: shellcheck is missing (deps/test.txt)" >&2
  exit 1
fi

is_script() {
  local first=
  [[ -f $1 ]] || return 1
  [[ $1 != *.sh ]] || return 0
  [[ -x $1 ]] || return 1
  IFS= read -r -n 64 first 2>/dev/null <"$1" || true
  [[ $first =~ ^#!.*[/\ ](ba|da)?sh([[:space:]]|$) ]]
}

if (($#)); then
  files=("$@")
else
  files=()
  while IFS= read -r -d '' file; do
    if is_script "$file"; then files+=("$file"); fi
  done < <(
    if [[ -e .git ]]; then
      git -c safe.directory='*' ls-files -z --cached --others --exclude-standard
    else
      find . -path ./build -prune -o -type f -print0
    fi
  )
fi
for file in "${files[@]}"; do bash -n "$file"; done
if ((${#files[@]})); then
  shellcheck "${files[@]}"
fi
echo "shell: ${#files[@]} scripts, no problems"
