#!/usr/bin/env bash
# One producer, two consumers, and a sentinel that sends both home when everything is done. Nobody has
# to know how many consumers there are.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

start_broker
start_worker consumer-1 --executor sleep=thread:1
consumer_1=${running[-1]}
start_worker consumer-2 --executor sleep=thread:1
consumer_2=${running[-1]}

step "twenty jobs, then the sentinel"
printf '{"ms": 50}\n%.0s' {1..20} | producer enqueue sleep -
producer close default --wait

step "every consumer goes home"
for name in consumer-1 consumer-2; do
  pid=$consumer_1
  [[ $name == consumer-1 ]] || pid=$consumer_2
  code=0
  wait "$pid" || code=$?
  echo "$name: exit code $code; $(grep -o 'ran .*' "$folder/$name.log")"
done
