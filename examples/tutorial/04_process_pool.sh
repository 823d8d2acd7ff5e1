#!/usr/bin/env bash
# A pool of Python processes, as multiprocessing.Pool.map would have it, but results come as they are
# ready, and a process that dies takes nothing with it.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cp "$root/examples/python/stdio_worker.py" "$root/examples/tutorial/square_worker.py" "$folder"
start_broker
start_worker pool --until forever --kind "square=python3 -B $folder/square_worker.py" \
  --executor square=process:2

step "the squares of 1 to 12"
for n in {1..12}; do echo "{\"n\": $n}"; done |
  quiet_producer enqueue square - --wait --output jsonl | tee "$folder/rows"
count=$(grep -o '"process":[0-9]*' "$folder/rows" | sort -u | wc -l)
echo "computed by $count processes"
