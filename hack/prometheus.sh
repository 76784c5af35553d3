#!/bin/sh
# Unpacks Debian's Prometheus where the tests find it, without installing it (an installed one
# would be started), and prints the directory of prometheus and promtool.
set -eu

dir=${SEPTUM_CACHE:-$HOME/.cache/septum}/prometheus
if [ -x "$dir/usr/bin/prometheus" ] && [ -x "$dir/usr/bin/promtool" ]; then
	echo "$dir/usr/bin"
	exit 0
fi
mkdir -p "$dir"
exec 9>"$dir.lock"
flock 9
"$(dirname "$0")/unpack.sh" "$dir" prometheus
"$dir/usr/bin/promtool" --version >&2
echo "$dir/usr/bin"
