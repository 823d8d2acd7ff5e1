#!/usr/bin/env bash
# The primes up to 100,000, printed as they are found. Of the 9,592 only some are shown here; without
# the awk it is one a line.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

start_broker
start_worker finder --until forever

step "millrace-producer primes 1 100000 --list"
producer primes 1 100000 --list --chunk 5000 |
  awk '{ if (NR <= 5 || NR % 1000 == 0) { print NR ": " $1; fflush() } }
       END { print NR " primes" }'
