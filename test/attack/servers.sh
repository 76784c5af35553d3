#!/bin/sh
# Unpacks Debian's nginx, Apache and HAProxy where the attacks and benchmarks find them, without installing them (an
# installed one would be started), and prints the directory.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=${SEPTUM_CACHE:-$HOME/.cache/septum}/servers
if [ -x "$dir/usr/sbin/nginx" ] && [ -x "$dir/usr/sbin/apache2" ] && [ -x "$dir/usr/sbin/haproxy" ]; then
	echo "$dir"
	exit 0
fi
mkdir -p "$dir"
exec 9>"$dir.lock"
flock 9
"$here/../../hack/unpack.sh" "$dir" nginx apache2-bin libapr1 libaprutil1 liblua5.3-0 libjansson4 haproxy libopentracing-c-wrapper0 libopentracing1
LD_LIBRARY_PATH=$(echo "$dir"/usr/lib/*-linux-gnu) "$dir/usr/sbin/nginx" -v >&2
echo "$dir"
