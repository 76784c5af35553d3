# shellcheck shell=bash
# A node is one tree of processes below one unshare: ending that one ends the node.

start_nodes() {
  local node
  for node in "${NODES[@]}"; do
    mkdir -p "$STATE/$node/loaded" "$STATE/$node/conf"
    cp "$STATE/pki/ca.crt" "$STATE/$node/conf/ca.crt"
    cp "$STATE/pki/$node.kubeconfig" "$STATE/$node/conf/kubelet.kubeconfig"
    cp "$STATE/pki/kube-proxy.kubeconfig" "$STATE/$node/conf/kube-proxy.kubeconfig"
    write_node_config "$node" "$STATE/$node/conf"
    daemon "$node" nsenter --net="/run/netns/$(node_ns "$node")" \
      unshare --mount --propagation slave --uts --pid --fork --kill-child \
      bash "$here/lib/node-init.sh" "$node" "$STATE" "$BIN_DIR" "$(node_ips "$node")"
  done
}

# node_ips are the node's addresses as kubelet takes them.
node_ips() {
  node_ip "$1"
  ! dual || printf ',%s' "$(node_ip6 "$1")"
}

# pod_ranges NODE is what its pods get addresses from, and pod_routes where they can go, as
# host-local takes them.
pod_ranges() {
  printf '[{"subnet": "%s"}]' "$(pod_cidr "$1")"
  ! dual || printf ', [{"subnet": "%s"}]' "$(pod_cidr6 "$1")"
}
pod_routes() {
  printf '{"dst": "0.0.0.0/0"}'
  ! dual || printf ', {"dst": "::/0"}'
}
pod_cidrs() {
  printf '10.244.0.0/16'
  ! dual || printf ',fd00:10:244::/48'
}

# write_node_config NODE DIR fills the templates of the node's programs.
write_node_config() {
  local file
  for file in "$here"/node/*; do
    sed -e "s|@NODE@|$1|g" -e "s|@IP@|$(node_ip "$1")|g" -e "s|@POD_RANGES@|$(pod_ranges "$1")|g" \
      -e "s|@POD_ROUTES@|$(pod_routes)|g" -e "s|@POD_CIDRS@|$(pod_cidrs)|g" \
      -e "s|@CGROUP@|/$CLUSTER-$1|g" -e "s|@DNS_IP@|$DNS_IP|g" "$file" >"$2/$(basename "$file")"
  done
}

# node_pid is the process that everything in the node descends from, as the machine numbers it.
node_pid() { cat "$STATE/$1/pid" 2>/dev/null; }

node_alive() {
  local pid
  pid=$(node_pid "$1") && [ -d "/proc/$pid" ] &&
    [ "/proc/$pid/ns/net" -ef "/run/netns/$(node_ns "$1")" ]
}

node_exec() {
  local node=${1:-} pid
  [ $# -gt 1 ] || die "usage: cluster node NAME COMMAND…"
  need_root
  node_alive "$node" || die "node $node does not run"
  pid=$(node_pid "$node")
  shift
  nsenter -t "$pid" -m -r -w -u -n -p -- "$@"
}

node_serves() { node_exec "$1" test -S /run/containerd/containerd.sock; }
