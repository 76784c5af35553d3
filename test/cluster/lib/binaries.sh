# shellcheck shell=bash
# Builds the cluster's programs from their Go modules, once for each version.

# Each line: the program's name, and the package that it is built from.
programs() {
  cat <<LIST
kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager
kube-scheduler k8s.io/kubernetes/cmd/kube-scheduler
kubelet k8s.io/kubernetes/cmd/kubelet
kubectl k8s.io/kubernetes/cmd/kubectl
kube-proxy k8s.io/kubernetes/cmd/kube-proxy
etcd go.etcd.io/etcd/server/v3
coredns ./coredns
helm helm.sh/helm/v4/cmd/helm
LIST
}

cluster_binaries() {
  local dir name package version flags count=0 total missing=0
  dir=$BIN_DIR
  mkdir -p "$dir"
  version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' "$here/binaries/go.mod")
  flags="-s -w -X k8s.io/component-base/version.gitVersion=$version"
  flags+=" -X k8s.io/component-base/version.gitMajor=$(cut -d. -f1 <<<"${version#v}")"
  flags+=" -X k8s.io/component-base/version.gitMinor=$(cut -d. -f2 <<<"$version")"
  total=$(programs | wc -l)
  while read -r name package; do [ -x "$dir/$name" ] || missing=$((missing + 1)); done < <(programs)
  [ "$missing" -gt 0 ] || { step "Kubernetes $version: all programs are in $dir"; return 0; }
  step "Building $missing of $total programs of Kubernetes $version into $dir (only the first time; up to 15 minutes on two cores)"
  while read -r name package; do
    count=$((count + 1))
    [ ! -x "$dir/$name" ] || continue
    step "  ($count of $total) $name"
    (cd "$here/binaries" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags="$flags" \
      -o "$dir/.$name.$$" "$package") || die "building $name from $package failed"
    mv "$dir/.$name.$$" "$dir/$name"
  done < <(programs)
}
