# shellcheck shell=bash
# The order in which a cluster comes up, and what it is to be healthy.

cluster_up() {
  cluster_deps
  cluster_binaries
  refuse_foreign
  if healthy; then
    step "Cluster $CLUSTER is up already (KUBECONFIG=$KUBECONFIG_FILE)"
    return 0
  fi
  if exists; then
    step "Cluster $CLUSTER is there but not healthy: starting it again from nothing"
    remove_all
  fi
  step "Starting cluster $CLUSTER: control plane, node1 and node2"
  mkdir -p "$STATE/logs" "$STATE/pids"
  make_images
  make_pki
  make_network
  make_cgroups
  start_etcd
  start_apiserver
  start_forwarder
  start_nodes
  step "Waiting for containerd, and loading the cluster's own images"
  local node
  for node in "${NODES[@]}"; do wait_for 120 "containerd on $node" node_serves "$node"; done
  cluster_load "$(images_dir)/pause.tar" "$(images_dir)/coredns.tar"
  step "Waiting for the API server"
  wait_for 180 "an answer of the API server" kube get --raw /readyz
  start_controllers
  start_dns
  step "Waiting for both nodes"
  wait_for 180 "nodes becoming Ready" nodes_ready
  step "Waiting for DNS"
  wait_for 180 "an answer of the cluster's DNS on every node" dns_answers
  touch "$STATE/up"
  step "Cluster $CLUSTER is up: export KUBECONFIG=$KUBECONFIG_FILE"
}

# exists is true when anything of this cluster is there, whole or not.
exists() {
  local ns
  for ns in "$(cp_ns)" "${NODES[@]/#/$CLUSTER-}"; do
    [ ! -e "/run/netns/$ns" ] || return 0
  done
  [ -d "$STATE" ]
}

healthy() {
  local node
  [ -e "$STATE/up" ] || return 1
  for node in "${NODES[@]}"; do node_alive "$node" || return 1; done
  { kube get --raw /readyz --request-timeout=5s && nodes_ready && dns_answers; } >/dev/null 2>&1
}

cluster_status() {
  local file name pid
  if ! exists; then
    echo "Cluster $CLUSTER does not run."
    return 0
  fi
  for file in "$STATE"/pids/*; do
    [ -e "$file" ] || continue
    name=$(basename "$file") pid=$(cat "$file")
    if [ -d "/proc/$pid" ]; then name+=": running, process $pid"; else name+=": ENDED, see $STATE/logs/$name.log"; fi
    echo "$name"
  done
  need_root
  if healthy; then echo "Cluster $CLUSTER is healthy."; else echo "Cluster $CLUSTER is NOT healthy."; fi
  kube get nodes -o wide --request-timeout=5s || :
  kube get pods -A --request-timeout=5s || :
}
