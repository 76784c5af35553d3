#!/usr/bin/env bash
# Runs golangci-lint of the version in test/lint/go.mod, built once for each version.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

key=$({ go env GOVERSION && cat test/lint/go.mod test/lint/go.sum; } | sha256sum | cut -c1-16)
program=${SEPTUM_CACHE:-$HOME/.cache/septum}/bin/golangci-lint-$key
if [ ! -x "$program" ]; then
  echo "Building golangci-lint (only the first time; some minutes)"
  mkdir -p "$(dirname "$program")"
  (cd test/lint && CGO_ENABLED=0 nice go build -trimpath -ldflags '-s -w' \
    -o "$program.new" github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
  mv "$program.new" "$program"
fi
# The linter goes on without packages that it cannot list; that would be a check that cannot fail.
go list -tags e2e ./... >/dev/null
exec "$program" run --timeout 20m "${@:-./...}"
