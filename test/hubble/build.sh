#!/usr/bin/env bash
# Builds the real Hubble CLI, once for each version, and prints where it is:
#
#   build.sh            ${SEPTUM_CACHE:-$HOME/.cache/septum}/hubble/<version>/hubble
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
version=$(awk '$1 == "github.com/cilium/cilium" || $2 == "github.com/cilium/cilium" { for (i = 1; i <= NF; i++) if ($i ~ /^v[0-9]/) { print $i; exit } }' go.mod)
program=${SEPTUM_CACHE:-$HOME/.cache/septum}/hubble/$version/hubble
if [ ! -x "$program" ]; then
  echo "Building the Hubble CLI $version (only the first time; five minutes on two cores)" >&2
  mkdir -p "$(dirname "$program")"
  CGO_ENABLED=0 nice go build -buildvcs=false -trimpath -ldflags='-s -w' -o "$program.$$" github.com/cilium/cilium/hubble >&2
  mv "$program.$$" "$program"
fi
echo "$program"
