#!/usr/bin/env bash
# Makes everything that is generated. It changes only what differs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '  %s\n' "$*"; }

step "deep copies, CRDs, protobuf and BPF (go generate)"
go generate ./...

step "the chart's CRDs"
for pair in config/crd/bases:crds config/crd/cilium:cilium; do
  target=charts/septum/files/${pair#*:}
  rm -f "$target"/*.yaml
  cp "${pair%:*}"/*.yaml "$target/"
done
