#!/usr/bin/env bash
# A counter that four threads share: wrong without a lock, right with one, and ThreadSanitizer sees why.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build() { cmake -S "$root/examples/tutorial" -B "$folder/build" && cmake --build "$folder/build" -j 2; }
if ! build >"$folder/build.log" 2>&1; then
  tail -n 20 "$folder/build.log" >&2
  exit 1
fi

# ThreadSanitizer of older compilers cannot live with the address layouts of newer kernels.
fixed=()
if setarch -R true 2>/dev/null; then fixed=(setarch -R); fi

step "without a lock"
"$folder/build/lost_update" wrong || true
step "with a lock"
"$folder/build/lost_update" right

step "what ThreadSanitizer says"
for how in wrong right; do
  code=0
  "${fixed[@]}" "$folder/build/lost_update_tsan" "$how" >"$folder/$how.log" 2>&1 || code=$?
  if ((code > 1)) && grep -q 'ThreadSanitizer: data race' "$folder/$how.log"; then
    grep -m 1 -A 1 'ThreadSanitizer: data race' "$folder/$how.log" | sed 's/ (pid=[0-9]*)//'
    echo "$how: a data race"
  elif ((code == 0)); then
    echo "$how: nothing to report"
  else
    cat "$folder/$how.log" >&2
    exit 1
  fi
done
