# shellcheck shell=bash
# What the machine must have: checked first, installed only when missing.

# Each line: a program or path that shows it is there, and its Debian package.
needed() {
  cat <<LIST
containerd containerd
containerd-shim-runc-v2 containerd
ctr containerd
runc runc
/usr/lib/cni/ptp containernetworking-plugins
/usr/lib/cni/host-local containernetworking-plugins
/usr/lib/cni/loopback containernetworking-plugins
/usr/lib/cni/portmap containernetworking-plugins
iptables iptables
ip iproute2
nft nftables
openssl openssl
nsenter util-linux
unshare util-linux
mount mount
flock util-linux
LIST
}

# need_go puts a Go that can build everything here first in PATH, and says where the
# programs of this version are: what they are built from is in that directory's name.
need_go() {
  local dir key
  dir=$("$ROOT/hack/go.sh") || exit 1
  PATH=$dir:$PATH
  (cd "$here/binaries" && go version >/dev/null) ||
    die "this Go cannot fetch the toolchain that $here/binaries/go.mod names; is GOTOOLCHAIN=local set?"
  key=$(cd "$here/binaries" && { go env GOVERSION && cat go.mod go.sum coredns/main.go; } | sha256sum | cut -c1-16)
  BIN_DIR=$CACHE/bin/$key
}

need_machine() {
  [ "$(uname -s)/$(uname -m)" = Linux/x86_64 ] ||
    die "the local cluster runs on Linux amd64 only, this is $(uname -s) $(uname -m)"
  need_root
  [ -r /sys/kernel/btf/vmlinux ] ||
    die "this kernel has no BTF (/sys/kernel/btf/vmlinux), which Septum's programs need: use one with CONFIG_DEBUG_INFO_BTF=y"
  local major minor
  IFS=.- read -r major minor _ < <(uname -r)
  [ $((major * 100 + minor)) -ge 606 ] ||
    die "kernel $(uname -r) has no TCX, which Septum attaches with: use 6.6 or newer (Debian 12: linux-image-amd64 from bookworm-backports)"
  grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null ||
    die "this kernel has no overlay file system, which containerd needs"
}

missing_packages() {
  local sign package
  while read -r sign package; do
    command -v "$sign" >/dev/null 2>&1 || [ -e "$sign" ] || printf '%s\n' "$package"
  done < <(needed) | sort -u
}

cluster_deps() {
  need_machine
  local packages had_containerd=yes
  mapfile -t packages < <(missing_packages)
  if [ ${#packages[@]} -eq 0 ]; then
    step "All needed packages are installed"
    return 0
  fi
  command -v apt-get >/dev/null 2>&1 ||
    die "these Debian packages are missing and there is no apt-get to install them: ${packages[*]}"
  command -v containerd >/dev/null 2>&1 || had_containerd=no
  step "Installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >/dev/null || die "apt-get update failed"
  apt-get install -yq --no-install-recommends "${packages[@]}" >/dev/null ||
    die "apt-get could not install: ${packages[*]}"
  if [ "$had_containerd" = no ] && [ -d /run/systemd/system ]; then
    # The package starts a service of its own; the nodes have theirs.
    systemctl disable --now --quiet containerd || :
  fi
  mapfile -t packages < <(missing_packages)
  [ ${#packages[@]} -eq 0 ] || die "still missing after the installation: ${packages[*]}"
}
