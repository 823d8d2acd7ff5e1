#!/usr/bin/env bash
# Installs the Debian packages named in deps/*.txt that are missing. With nothing missing it uses no
# network and needs no rights.
#
#   scripts/install_deps.sh [--check] [LIST...]      LIST: build run test demo (default: build run test)
#
#   --check   install nothing; exit 1 and name what is missing
#
# Exit: 0 all there · 1 missing (--check) · 64 usage · 69 apt-get failed · 77 neither root nor sudo
set -euo pipefail

deps_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/../deps" && pwd)

say() { printf 'install_deps: %s\n' "$*" >&2; }

usage() { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

# Prints the packages of the given lists, without comments and repeats.
wanted_packages() {
  local list
  for list in "$@"; do
    sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$deps_folder/$list.txt"
  done | sort -u
}

# Reads package names on stdin, prints those that are not installed.
missing_packages() {
  local package
  while read -r package; do
    # An `arch: any` package carries `:amd64` in some states; the status word is what counts.
    if [[ $(dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | head -n 1) != installed ]]; then
      printf '%s\n' "$package"
    fi
  done
}

# Runs apt-get as root, through sudo where we are not.
apt_get() {
  local -a as_root=()
  if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
      say "these packages are missing, and neither root nor sudo is at hand: ${missing[*]}"
      say "as root: apt-get install --no-install-recommends ${missing[*]}"
      exit 77
    fi
    as_root=(sudo)
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@"
}

main() {
  local check=no list
  local -a lists=()
  while (($#)); do
    case $1 in
      --check) check=yes ;;
      -h | --help) usage && exit 0 ;;
      -*) say "unknown option $1" && exit 64 ;;
      *) lists+=("$1") ;;
    esac
    shift
  done
  ((${#lists[@]})) || lists=(build run test)
  for list in "${lists[@]}"; do
    if [[ ! -f $deps_folder/$list.txt ]]; then
      say "no list deps/$list.txt" && exit 64
    fi
  done
  if ! command -v dpkg-query >/dev/null; then
    say "this is no Debian system: install what deps/*.txt names by your own means"
    exit 69
  fi

  mapfile -t missing < <(wanted_packages "${lists[@]}" | missing_packages)
  if ((${#missing[@]} == 0)); then
    return 0
  fi
  if [[ $check == yes ]]; then
    say "missing: ${missing[*]}"
    exit 1
  fi
  say "installing ${#missing[@]} packages: ${missing[*]}"
  # The package index may be absent (a bare image) or old: fetch it when the first try fails.
  if ! apt_get install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
    if ! apt_get update; then
      say "apt-get update failed: no network, or no package source"
      exit 69
    fi
    if ! apt_get install -y --no-install-recommends "${missing[@]}"; then
      say "apt-get install failed for: ${missing[*]}"
      exit 69
    fi
  fi
  mapfile -t missing < <(wanted_packages "${lists[@]}" | missing_packages)
  if ((${#missing[@]})); then
    say "still missing after the installation: ${missing[*]}"
    exit 69
  fi
  say "done"
}

main "$@"
