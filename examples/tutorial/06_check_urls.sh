#!/usr/bin/env bash
# The URLs of a file, each status printed as it arrives. The site is a small one on this machine, with
# pages that are slow, missing or broken.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

start_broker
start_worker checker --until forever
start site python3 -B "$root/examples/site/site.py" --urls "$folder/urls.txt"
until grep -q '^listening' "$folder/site.log"; do sleep 0.05; done

step "urls.txt has $(grep -c '^http' "$folder/urls.txt") URLs"
code=0
producer urls "$folder/urls.txt" --timeout 3s || code=$?
# Three of them can have no status, which is what 1 says.
((code == 1))
