#!/bin/sh
# Unpacks Debian packages into a directory, without installing them: hack/unpack.sh DIR PACKAGE...
set -eu

dir=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -q "$@" >&2 || { apt-get update -qq >&2 && apt-get download -q "$@" >&2; }
for package in *.deb; do
	dpkg-deb -x "$package" "$dir"
done
