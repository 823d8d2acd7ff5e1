#!/usr/bin/env bash
# Shrinks 100 pictures, which it draws first, with one process and with two. Pure Python computes on one
# CPU however many threads it has; processes use them all.
source "$(dirname "${BASH_SOURCE[0]}")/../tutorial/common.sh"

cp "$root"/examples/python/*.py "$folder"
mkdir "$folder/pictures" "$folder/small"
chmod 777 "$folder/small" # children of a worker that is root are somebody else

step "drawing 100 pictures"
begin=$(now_us)
(cd "$folder" && python3 -B -c '
import images
for number in range(100):
    images.write_png(f"pictures/{number}.png", images.draw(number, 160, 120))')
echo "100 pictures of 160 x 120: $(seconds_since "$begin")"

start_broker
for number in {0..99}; do
  echo "{\"path\": \"$folder/pictures/$number.png\", \"to\": \"$folder/small/$number.png\", \"factor\": 4}"
done >"$folder/jobs"
for count in 1 2; do
  start_worker "with-$count" --until forever --queue "with-$count" \
    --kind "image.resize=python3 -B $folder/resize_worker.py" --executor "image.resize=process:$count"
done

for count in 1 2; do
  step "shrinking them with $count process(es)"
  # The first jobs start the processes.
  head -n 4 "$folder/jobs" |
    quiet_producer enqueue image.resize - --queue "with-$count" --wait >"$folder/warm"
  begin=$(now_us)
  quiet_producer enqueue image.resize - --queue "with-$count" --wait <"$folder/jobs" >"$folder/rows"
  echo "$(grep -c ' done ' "$folder/rows") pictures with $count process(es): $(seconds_since "$begin")"
done
tail -n 1 "$folder/rows" | sed "s|$folder/||"
