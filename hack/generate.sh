#!/usr/bin/env bash
# Makes everything that is generated. It changes only what differs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '  %s\n' "$*"; }

step "deep copies, CRDs, protobuf and BPF (go generate)"
go generate ./...

step "the chart's CRDs and admission policies"
for pair in config/crd/bases:crds config/crd/cilium:cilium config/crd/admission:admission; do
  target=charts/septum/files/${pair#*:}
  mkdir -p "$target"
  rm -f "$target"/*.yaml
  cp "${pair%:*}"/*.yaml "$target/"
done
