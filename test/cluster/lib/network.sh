# shellcheck shell=bash
# One network namespace for the control plane, one for each node; a bridge in the
# first joins them. No address of theirs ever appears in the machine's own namespace.

make_network() {
  local cp node ns ip other
  cp=$(cp_ns)
  mountpoint -q /run/netns || touch "$STATE/made-run-netns"
  ip netns add "$cp"
  ip -n "$cp" link set lo up
  ip -n "$cp" link add br0 type bridge
  ip -n "$cp" addr add "$CP_IP/24" dev br0
  ip -n "$cp" link set br0 up
  nsenter --net="/run/netns/$cp" sh -c "echo 1 >/proc/sys/net/ipv4/ip_forward"
  if dual; then
    ip -n "$cp" addr add "$CP_IP6/64" dev br0 nodad
    nsenter --net="/run/netns/$cp" sh -c "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
  fi
  for node in "${NODES[@]}"; do
    ns=$(node_ns "$node")
    ip=$(node_ip "$node")
    ip netns add "$ns"
    ip -n "$ns" link set lo up
    ip link add "$node" netns "$cp" type veth peer name eth0 netns "$ns"
    ip -n "$cp" link set "$node" master br0 up
    ip -n "$ns" addr add "$ip/24" dev eth0
    ip -n "$ns" link set eth0 up
    ip -n "$ns" route add default via "$CP_IP"
    ip -n "$cp" route add "$(pod_cidr "$node")" via "$ip"
    if dual; then
      ip -n "$ns" addr add "$(node_ip6 "$node")/64" dev eth0 nodad
      ip -n "$ns" route add default via "$CP_IP6"
      ip -n "$cp" route add "$(pod_cidr6 "$node")" via "$(node_ip6 "$node")"
    fi
  done
  for node in "${NODES[@]}"; do
    for other in "${NODES[@]}"; do
      [ "$node" != "$other" ] || continue
      ip -n "$(node_ns "$node")" route add "$(pod_cidr "$other")" via "$(node_ip "$other")"
      ! dual || ip -n "$(node_ns "$node")" route add "$(pod_cidr6 "$other")" via "$(node_ip6 "$other")"
    done
  done
}

# remove_network also ends whatever still runs in the namespaces: all of it is the cluster's.
remove_network() {
  local ns
  for ns in "$(cp_ns)" "${NODES[@]/#/$CLUSTER-}"; do
    [ -e "/run/netns/$ns" ] || continue
    end_processes $(ip netns pids "$ns" 2>/dev/null)
    ip netns del "$ns" || die "network namespace $ns cannot be removed"
  done
  if [ -e "$STATE/made-run-netns" ] && [ -z "$(ls -A /run/netns 2>/dev/null)" ]; then
    umount /run/netns 2>/dev/null && rmdir /run/netns || :
  fi
}
