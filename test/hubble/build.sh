#!/usr/bin/env bash
# Builds the real Hubble CLI or Hubble Relay, once for each version, and prints where it is:
#
#   build.sh [hubble|hubble-relay]    ${SEPTUM_CACHE:-$HOME/.cache/septum}/hubble/<version>/hubble
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
version=$(awk '$1 == "github.com/cilium/cilium" || $2 == "github.com/cilium/cilium" { for (i = 1; i <= NF; i++) if ($i ~ /^v[0-9]/) { print $i; exit } }' go.mod)
name=${1:-hubble}
program=${SEPTUM_CACHE:-$HOME/.cache/septum}/hubble/$version/$name
if [ ! -x "$program" ]; then
  echo "Building $name $version (only the first time; the first of the two takes five minutes on two cores)" >&2
  mkdir -p "$(dirname "$program")"
  CGO_ENABLED=0 nice go build -buildvcs=false -trimpath -ldflags='-s -w' -o "$program.$$" "github.com/cilium/cilium/$name" >&2
  mv "$program.$$" "$program"
fi
echo "$program"
