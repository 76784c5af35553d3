# shellcheck shell=bash
# Certificates, keys, tokens and kubeconfigs: made anew for every cluster.

# sign NAME SUBJECT EXTENSIONS makes a key and a certificate of the cluster's CA.
sign() {
  local pki=$STATE/pki
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" \
    -keyout "$pki/$1.key" -out "$pki/$1.csr" 2>/dev/null
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial \
    -days 365 -extfile <(printf '%s\n' "$3") -out "$pki/$1.crt" 2>/dev/null
}

# kubeconfig FILE SERVER TOKEN writes the way to the API server for one client.
kubeconfig() {
  mkdir -p "$(dirname "$1")"
  (umask 077 && cat >"$1" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: $CLUSTER
  cluster:
    server: $2
    certificate-authority-data: $(base64 -w0 "$STATE/pki/ca.crt")
users:
- name: $CLUSTER
  user:
    token: $3
contexts:
- name: $CLUSTER
  context:
    cluster: $CLUSTER
    user: $CLUSTER
current-context: $CLUSTER
YAML
  )
}

make_pki() {
  local pki=$STATE/pki inside=https://$CP_IP:6443 name user group token uid=1
  (umask 077 && mkdir -p "$pki")
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
    -subj "/CN=$CLUSTER-ca" -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
  sign apiserver /CN=kube-apiserver "extendedKeyUsage=serverAuth
subjectAltName=IP:127.0.0.1,IP:$CP_IP,IP:$SERVICE_IP,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  sign kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client extendedKeyUsage=clientAuth
  openssl ecparam -genkey -name prime256v1 -noout -out "$pki/service-account.key"
  openssl ec -in "$pki/service-account.key" -pubout -out "$pki/service-account.pub" 2>/dev/null

  (umask 077 && : >"$pki/tokens.csv")
  while read -r name user group; do
    token=$(openssl rand -hex 24)
    printf '%s,%s,%d%s\n' "$token" "$user" "$uid" "${group:+,\"$group\"}" >>"$pki/tokens.csv"
    uid=$((uid + 1))
    kubeconfig "$pki/$name.kubeconfig" "$inside" "$token"
  done <<LIST
admin admin system:masters
controller-manager system:kube-controller-manager
scheduler system:kube-scheduler
kube-proxy system:kube-proxy
$(for n in "${NODES[@]}"; do printf '%s system:node:%s system:nodes\n' "$n" "$n"; done)
LIST
}

# admin_token is the token of the user that the kubeconfig outside names.
admin_token() { awk -F, '$2 == "admin" { print $1 }' "$STATE/pki/tokens.csv"; }
