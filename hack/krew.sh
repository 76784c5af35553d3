#!/usr/bin/env bash
# Builds kubectl-septum for each platform, and Krew's manifest for these archives:
#
#   krew.sh [version]    build/krew/septum.yaml and build/krew/kubectl-septum-<os>-<arch>.tar.gz
#
# The version is the chart's if none is given. KREW_OUT, KREW_PLATFORMS ("linux/amd64 …") and
# KREW_URL (where the archives of all versions are) may be set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=${1:-v$(awk '$1 == "appVersion:" { print $2 }' charts/septum/Chart.yaml)}
out=${KREW_OUT:-build/krew}
platforms=${KREW_PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64}
url=${KREW_URL:-https://github.com/septum-dev/septum/releases/download}
if ! [[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
  echo "krew.sh: $version is no version such as v1.2.3" >&2
  exit 2
fi
mkdir -p "$out"
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT

cat > "$out/septum.yaml.new" <<YAML
# Made by hack/krew.sh.
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: septum
spec:
  version: $version
  homepage: https://github.com/septum-dev/septum
  shortDescription: Ask what layer 7 network policies mean and do
  description: |
    Shows the status of Septum's and Cilium's network policies, says in words what they mean and whether a
    request is allowed, tests and lints them without a cluster, shows the flows of all nodes, suggests
    policies from flows, and looks for what is wrong with an installation.
  caveats: |
    explain, can-i, test and lint need nothing but policies. status, flows and doctor need Septum in the cluster.
  platforms:
YAML
for platform in $platforms; do
  os=${platform%/*} arch=${platform#*/} bin=kubectl-septum
  [ "$os" != windows ] || bin=kubectl-septum.exe
  dir=$parts/$os-$arch
  mkdir -p "$dir"
  CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$dir/$bin" ./cmd/kubectl-septum
  cp LICENSE cmd/kubectl-septum/kubectl_complete-septum "$dir/"
  archive=kubectl-septum-$os-$arch.tar.gz
  # The same sources give the same bytes.
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$dir" -cf - . | gzip -9n > "$out/$archive"
  cat >> "$out/septum.yaml.new" <<YAML
    - selector:
        matchLabels: {os: $os, arch: $arch}
      uri: $url/$version/$archive
      sha256: $(sha256sum "$out/$archive" | cut -d' ' -f1)
      bin: $bin
      files:
        - {from: $bin, to: .}
        - {from: LICENSE, to: .}
        - {from: kubectl_complete-septum, to: .}
YAML
done
mv "$out/septum.yaml.new" "$out/septum.yaml"
echo "$out/septum.yaml"
