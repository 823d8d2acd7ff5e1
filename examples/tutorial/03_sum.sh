#!/usr/bin/env bash
# Work that keeps a CPU busy: inline, on threads, in processes. What gains, and how much?
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

producer compare sum '{"n": 200000000}' --jobs 20
