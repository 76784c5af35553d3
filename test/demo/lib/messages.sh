# shellcheck shell=bash
# What the demo prints.

started=$(date +%s)
export SEPTUM_STARTED=$started # the cluster tool counts from here too
bold="" plain="" red="" green=""
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m' red=$'\e[31m' green=$'\e[32m'; fi

# step says what begins now, with the seconds since the demo began.
step() { printf '[%4ds] %s\n' $(($(date +%s) - started)) "$*"; }
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

fail() {
  printf '%sdemo: %s%s\n' "$red" "$*" "$plain" >&2
  exit 1
}
