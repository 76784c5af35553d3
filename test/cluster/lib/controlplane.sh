# shellcheck shell=bash
# etcd, API server, controller-manager and scheduler, in the control plane's namespace.

start_etcd() {
  daemon etcd nsenter --net="/run/netns/$(cp_ns)" "$BIN_DIR/etcd" --data-dir "$STATE/etcd" \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync --log-level warn
}

service_cidrs() {
  printf '%s' "$SERVICE_CIDR"
  ! dual || printf ',%s' "$SERVICE_CIDR6"
}

start_apiserver() {
  local pki=$STATE/pki
  # Routes lead from here to every pod, so webhooks and aggregated APIs behind a Service
  # are called at their pods' addresses: there is no kube-proxy beside the API server.
  daemon kube-apiserver nsenter --net="/run/netns/$(cp_ns)" "$BIN_DIR/kube-apiserver" \
    --advertise-address="$CP_IP" --secure-port=6443 \
    --etcd-servers=http://127.0.0.1:2379 \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --client-ca-file="$pki/ca.crt" --token-auth-file="$pki/tokens.csv" \
    --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
    --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$pki/service-account.pub" \
    --service-account-signing-key-file="$pki/service-account.key" \
    --service-cluster-ip-range="$(service_cidrs)" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --allow-privileged --enable-aggregator-routing=true --profiling=false
}

start_controllers() {
  local pki=$STATE/pki
  daemon kube-controller-manager nsenter --net="/run/netns/$(cp_ns)" "$BIN_DIR/kube-controller-manager" \
    --kubeconfig="$pki/controller-manager.kubeconfig" --leader-elect=false \
    --use-service-account-credentials --root-ca-file="$pki/ca.crt" \
    --service-account-private-key-file="$pki/service-account.key" --bind-address=127.0.0.1
  daemon kube-scheduler nsenter --net="/run/netns/$(cp_ns)" "$BIN_DIR/kube-scheduler" \
    --kubeconfig="$pki/scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1
}

# start_forwarder carries a port of the machine's loopback to the API server, and writes
# the kubeconfig that uses it.
start_forwarder() {
  daemon forward "$STATE/bin/forward" -listen "127.0.0.1:$API_PORT" -port-file "$STATE/port" \
    -netns "/run/netns/$(cp_ns)" -to 127.0.0.1:6443
  wait_for 20 "a loopback port for the API server" test -s "$STATE/port"
  kubeconfig "$KUBECONFIG_FILE" "https://127.0.0.1:$(cat "$STATE/port")" "$(admin_token)"
}

