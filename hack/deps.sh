#!/usr/bin/env bash
# Installs the Debian packages that building and testing need, if they are missing.
# With "test" also those that only tests need: what fetches and runs the Kafka broker.
# Each line: a program or file that shows it is there, and the package.
set -euo pipefail

needed='
clang-19 clang-19
llvm-strip-19 llvm-19
/usr/include/bpf/bpf_helpers.h libbpf-dev
/usr/include/linux/bpf.h linux-libc-dev
protoc protobuf-compiler
python3 python3
/usr/lib/python3/dist-packages/pip python3-pip
curl curl
openssl openssl
git git
ip iproute2
dpkg-deb dpkg
'
[ "${1:-}" != test ] || needed+='
java default-jre-headless
javac default-jdk-headless
mvn maven
'
missing=()
while read -r sign package; do
  [ -n "$sign" ] || continue
  command -v "$sign" >/dev/null 2>&1 || [ -e "$sign" ] || missing+=("$package")
done <<<"$needed"
# The image of the toolbox is made of packages that apt finds in its lists.
lists=$(find /var/lib/apt/lists -name '*_Packages*' 2>/dev/null | head -n 1)

if [ ${#missing[@]} -eq 0 ] && [ -n "$lists" ]; then
  exit 0
fi
command -v apt-get >/dev/null 2>&1 || {
  echo "These packages are missing, and there is no apt-get to install them: ${missing[*]}" >&2
  exit 1
}
[ "$(id -u)" -eq 0 ] || {
  echo "Packages are missing: run as root, or: sudo apt-get install ${missing[*]}" >&2
  exit 1
}
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null
[ ${#missing[@]} -eq 0 ] || {
  echo "Installing ${missing[*]}"
  apt-get install -yqq --no-install-recommends "${missing[@]}" >/dev/null
}
