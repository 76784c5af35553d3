#!/usr/bin/env bash
# Generates again and fails if a file changed: somebody changed a source without "make generate".
# The work tree may hold other changes: compared is the state before with the state after.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

state() { { git diff HEAD; git ls-files --others --exclude-standard | while read -r f; do sha256sum "$f"; done; } | sha256sum; }

before=$(state)
hack/generate.sh
if [ "$(state)" != "$before" ]; then
  echo "Generated files differ from their sources; run make generate and commit:" >&2
  git status --short >&2
  exit 1
fi
unformatted=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$unformatted" ]; then
  echo "Not formatted (make fmt): $unformatted" >&2
  exit 1
fi
