#!/bin/sh
# Prints the directory of a Go that can build this repository, for the front of PATH.
# A Go of 1.21 or newer fetches the toolchain that go.mod names by itself. An older one
# (Debian 12 has 1.19) knows nothing of toolchains, but can download them: they are modules.
set -eu

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# Where the archive from go.dev is put, which a PATH may lack (sudo's does).
PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null 2>&1 || fail \
  "Go was not found. Install any Go of 1.18 or newer, and the right one is fetched as a module:" \
  "    apt-get install golang-go" \
  "or unpack the Go project's archive and put its bin directory into PATH."

here=$(cd "$(dirname "$0")/.." && pwd)
wanted=$(awk '$1 == "toolchain" { print $2 } $1 == "go" { version = "go" $2 } END { if (version) print version }' "$here/go.mod" | head -n 1)
have=$(cd / && GOTOOLCHAIN=local go env GOVERSION)
minor=$(printf '%s' "${have#go1.}" | sed 's/[^0-9].*//')
if [ "$minor" -ge 21 ]; then
  dirname "$(command -v go)"
  exit 0
fi

cache=${SEPTUM_CACHE:-$HOME/.cache/septum}
root=$cache/go/$wanted
if [ ! -x "$root/bin/go" ]; then
  printf 'This Go is %s; fetching %s as a module (only the first time)\n' "$have" "$wanted" >&2
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  platform=$(go env GOOS)-$(go env GOARCH)
  (cd "$scratch" && go mod init scratch 2>/dev/null &&
    go mod download -json "golang.org/toolchain@v0.0.1-$wanted.$platform" >answer) ||
    fail "The toolchain $wanted could not be downloaded: $(cat "$scratch/answer" 2>/dev/null)"
  dir=$(sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p' "$scratch/answer")
  [ -n "$dir" ] || fail "The toolchain $wanted has no directory in the module cache."
  mkdir -p "$cache/go"
  rm -rf "$root.new"
  cp -R "$dir" "$root.new"
  chmod -R u+w "$root.new"
  # Files of a module are never executable; these have to be.
  find "$root.new/bin" "$root.new/pkg/tool" -type f -exec chmod +x {} +
  mv "$root.new" "$root"
fi
printf '%s\n' "$root/bin"
