# shellcheck shell=bash
# What runs as pods: CoreDNS.

start_dns() {
  kube apply -f "$here/manifests/coredns.yaml" >/dev/null || die "CoreDNS could not be created"
}

nodes_ready() {
  local ready
  ready=$(kube get nodes --request-timeout=5s \
    -o 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' | grep -c True)
  [ "$ready" -eq ${#NODES[@]} ]
}

# dns_answers asks from every node, so it also shows that kube-proxy serves Services there.
dns_answers() {
  local node
  for node in "${NODES[@]}"; do
    node_exec "$node" timeout 5 getent ahostsv4 kubernetes.default.svc.cluster.local || return 1
  done
}
