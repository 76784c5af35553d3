#!/bin/sh
# Unpacks Debian's dnsmasq and builds the local cluster's CoreDNS where the attacks and benchmarks find them, without
# installing them, and prints the directory.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
source=$here/../cluster/binaries
dir=${SEPTUM_CACHE:-$HOME/.cache/septum}/resolvers-$(cat "$source/go.mod" "$source/coredns/main.go" | sha256sum | cut -c1-16)
if [ -x "$dir/usr/sbin/dnsmasq" ] && [ -x "$dir/coredns" ]; then
	echo "$dir"
	exit 0
fi
mkdir -p "$dir"
exec 9>"$dir.lock"
flock 9
if [ ! -x "$dir/coredns" ]; then
	(cd "$source" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -o "$dir/.coredns" ./coredns) >&2
	mv "$dir/.coredns" "$dir/coredns"
fi
"$here/../../hack/unpack.sh" "$dir" dnsmasq-base libdbus-1-3 libnetfilter-conntrack3 libnfnetlink0 libnftables1 libnftnl11 libxtables12 libmnl0 libjansson4
echo "$dir"
