#!/usr/bin/env bash
# Runs each fuzz target for FUZZTIME, one after the other, and says how often each ran. What a
# target finds is left in testdata/fuzz of its package, where it is a test from then on.
# Arguments are the targets to run; none is all of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

time=${FUZZTIME:-1m}
failed=0
while IFS=: read -r file _ declaration; do
  target=$(sed 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/' <<<"$declaration")
  if [ $# -gt 0 ] && [[ " $* " != *" $target "* ]]; then
    continue
  fi
  log=$(mktemp)
  # A minute for each new input that could be shorter (Go's default) would leave no time to look for others.
  if nice go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x -parallel 1 >"$log" 2>&1; then
    printf '%-14s %s\n' "$target" "$(grep '^fuzz: elapsed' "$log" | tail -n 1 | sed 's/^fuzz: //')"
  else
    printf '%-14s FAILED\n' "$target"
    cat "$log"
    failed=1
  fi
  rm -f "$log"
done < <(git grep -n '^func Fuzz' -- '*_test.go')
exit "$failed"
