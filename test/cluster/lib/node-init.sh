#!/usr/bin/env bash
# The first process of a node: gives it mounts of its own, then runs containerd, kubelet
# and kube-proxy. It runs in the node's network, mount, UTS and PID namespaces.
set -euo pipefail
node=$1 state=$2 bin=$3 ips=$4 # of which there are two where the cluster has both families

# /proc still is the machine's, so this is the number that the machine knows.
read -r pid _ </proc/self/stat
echo "$pid" >"$state/$node/pid.new"
mv "$state/$node/pid.new" "$state/$node/pid"
echo "$node" >/proc/sys/kernel/hostname

# What the machine has below /run (other namespaces, sockets) is not the node's.
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/node/{bin,conf,logs,cgroup,sysctl} /run/lock
mkdir -p "$state/$node/var"/{lib/kubelet,lib/containerd,lib/cni,log/pods,log/containers,cache,tmp}
chmod 1777 "$state/$node/var/tmp"
ln -sfn /run "$state/$node/var/run"
mount --bind "$bin" /run/node/bin
mount --bind "$state/$node/conf" /run/node/conf
mount --bind "$state/logs" /run/node/logs

# A sysfs of this network namespace, with the machine's cgroups and an own bpffs in it.
mount --rbind /sys/fs/cgroup /run/node/cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/node/cgroup /sys/fs/cgroup
umount -R -l /run/node/cgroup
mount -t bpf bpf /sys/fs/bpf

# The node may change its /etc and /opt; the machine keeps its own. /var is the node's alone.
for dir in etc opt; do
  mkdir -p "/run/node/$dir/upper" "/run/node/$dir/work"
  mount -t overlay overlay -o "lowerdir=/$dir,upperdir=/run/node/$dir/upper,workdir=/run/node/$dir/work" "/$dir"
done
mount --bind "$state/$node/var" /var
mkdir -p /etc/cni/net.d /opt/cni/bin
rm -f /etc/resolv.conf /etc/cni/net.d/*
printf 'nameserver 10.96.0.10\noptions timeout:2\n' >/etc/resolv.conf
{
  printf '127.0.0.1 localhost\n'
  for ip in ${ips//,/ }; do printf '%s %s\n' "$ip" "$node"; done
} >/etc/hosts
echo "$node" >/etc/hostname
cp /run/node/conf/10-ptp.conflist /etc/cni/net.d/
ln -sf /usr/lib/cni/* /opt/cni/bin/

# Kubelet sets these for a whole machine; here it writes into copies.
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  copy=/run/node/sysctl/${name//\//.}
  cat "/proc/sys/$name" >"$copy"
  mount --bind "$copy" "/proc/sys/$name"
done
echo 1 >/proc/sys/net/ipv4/ip_forward
if [[ $ips == *,* ]]; then echo 1 >/proc/sys/net/ipv6/conf/all/forwarding; fi
mount --make-rshared /

# supervise NAME COMMAND… starts the program again whenever it ends.
supervise() {
  local name=$1
  shift
  while :; do
    "$@" >>"/run/node/logs/$node-$name.log" 2>&1 || :
    sleep 1
  done
}

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd /
supervise containerd containerd --config /run/node/conf/containerd.toml &
until [ -S /run/containerd/containerd.sock ]; do sleep 0.1; done
supervise kubelet /run/node/bin/kubelet --config=/run/node/conf/kubelet.yaml \
  --kubeconfig=/run/node/conf/kubelet.kubeconfig --hostname-override="$node" --node-ip="$ips" &
supervise kube-proxy /run/node/bin/kube-proxy --config=/run/node/conf/kube-proxy.yaml &
wait
