#!/usr/bin/env bash
# The pattern of batch inference: a model is loaded when a process starts and stays there for all jobs,
# each of which brings a batch of texts.
source "$(dirname "${BASH_SOURCE[0]}")/../tutorial/common.sh"

cp "$root"/examples/python/*.py "$folder"
start_broker
start_worker model --until forever --executor text.classify=process:2 \
  --kind "text.classify=python3 -B $folder/inference_worker.py"

step "40 batches of 25 texts on two processes; loading the model takes half a second"
for batch in {1..40}; do
  texts=
  for text in {1..25}; do texts+="${texts:+, }\"sample $((batch * text % 97)) of $batch\""; done
  echo "{\"texts\": [$texts]}"
done >"$folder/jobs"
begin=$(now_us)
quiet_producer enqueue text.classify - --wait --output jsonl <"$folder/jobs" >"$folder/rows"
echo "$(grep -c '"state":"done"' "$folder/rows") batches done: $(seconds_since "$begin")"

step "how often each process loaded it"
sed -E 's/.*"loads":([0-9]+).*"process":([0-9]+).*/\2 \1/' "$folder/rows" | sort | uniq -c |
  awk '{ print "process " $2 ": " $1 " batches, model loaded " $3 " time(s)" }'
