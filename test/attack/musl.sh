#!/bin/sh
# Builds testdata/resolve.c with Debian's musl, without installing it, and prints the program's path.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=${SEPTUM_CACHE:-$HOME/.cache/septum}/musl-$(cat "$here/testdata/resolve.c" "$0" | sha256sum | cut -c1-16)
if [ -x "$dir/resolve" ]; then
	echo "$dir/resolve"
	exit 0
fi
mkdir -p "$dir"
exec 9>"$dir.lock"
flock 9
[ ! -x "$dir/resolve" ] || { echo "$dir/resolve"; exit 0; }
"$here/../../hack/unpack.sh" "$dir" musl-dev
include=$(echo "$dir"/usr/include/*-linux-musl) lib=$(echo "$dir"/usr/lib/*-linux-musl)
clang-19 -static -nostdinc -isystem "$include" -nostdlib -o "$dir/.resolve" "$lib/crt1.o" "$lib/crti.o" \
	"$here/testdata/resolve.c" "$lib/libc.a" "$lib/crtn.o" >&2
mv "$dir/.resolve" "$dir/resolve"
echo "$dir/resolve"
