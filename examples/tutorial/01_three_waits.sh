#!/usr/bin/env bash
# Three waits of 2 seconds take 2 seconds when they wait together, 6 one after the other.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

start_broker
start_worker together --until forever --queue together --executor sleep=thread:3
start_worker alone --until forever --queue alone --executor sleep=thread:1

three_waits() {
  local begin
  begin=$(now_us)
  printf '{"ms": 2000}\n%.0s' 1 2 3 | quiet_producer enqueue sleep - --queue "$1" --wait
  printf '%s: %s\n' "$2" "$(seconds_since "$begin")"
}

step "three threads"
three_waits together "three waits at once"
step "one thread"
three_waits alone "three waits one after the other"
