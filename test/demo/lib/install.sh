# shellcheck shell=bash
# Brings up the cluster, Septum and the applications. Every part does nothing when it is
# there already.

namespace=septum-system

# The client deployments: those that the policy lets in, then those that it does not.
clients=(frontend-app frontend-remote other-app other-remote)

install() {
  "$cluster" up
  eval "$("$cluster" env)"
  step "Building the images (Envoy and the toolbox are fetched the first time)"
  (cd "$root" && go run ./cmd/images -out build/images -bin build/bin -tag dev) || fail "the images could not be built"
  step "Loading the images into both nodes"
  "$cluster" load "$images"/septum-{operator,enforcer,envoy,demo,toolbox}.tar
  install_septum
  start_world
  install_apps
}

install_septum() {
  step "Installing Septum with helm from charts/septum"
  # A new image under an old tag starts no pod anew; the sums of the images do.
  local values=(-f "$here/values.yaml"
    --set-string "operator.podAnnotations.image=$(sum operator)"
    --set-string "enforcer.podAnnotations.image=$(sum enforcer)"
    --set-string "proxy.podAnnotations.image=$(sum enforcer envoy)")
  # Machines with the old and the new cgroups have the new ones in a directory below.
  [ ! -d /sys/fs/cgroup/unified ] || values+=(--set paths.cgroup=/sys/fs/cgroup/unified)
  helm upgrade --install septum "$root/charts/septum" --namespace $namespace --create-namespace \
    "${values[@]}" --wait --timeout 5m >/dev/null || {
    diagnose
    fail "helm could not install Septum"
  }
  local workload
  for workload in deployment/septum-operator daemonset/septum-enforcer daemonset/septum-proxy; do
    kubectl -n $namespace rollout status "$workload" --timeout=180s >/dev/null || {
      diagnose
      fail "$workload did not become ready"
    }
  done
}

# start_world serves what the demo's names lead to, outside of the cluster.
start_world() {
  step "Starting a server outside of the cluster: api.example.com and www.example.com"
  "$cluster" world "$root/build/bin/septum-demo" serve -listen :80,:443
}

install_apps() {
  step "Deploying backend-app, its clients and the toolbox in namespace demo"
  kubectl apply -f "$here/manifests" >/dev/null
  local deployment before now
  before=$(kubectl get namespace demo -o 'jsonpath={.metadata.annotations.image}')
  now=$(sum demo)
  [ "$before" = "$now" ] || kubectl annotate namespace demo --overwrite "image=$now" >/dev/null
  [ -z "$before" ] || [ "$before" = "$now" ] || kubectl -n demo rollout restart deployment >/dev/null
  for deployment in backend-app "${clients[@]}"; do
    kubectl -n demo rollout status "deployment/$deployment" --timeout=180s >/dev/null ||
      fail "deployment $deployment did not become ready"
  done
  kubectl -n demo wait --for=condition=Ready pod/toolbox --timeout=180s >/dev/null || fail "the toolbox did not become ready"
}

# sum NAME… is a short sum over the archives of these images.
sum() { local names=("${@/#/$images/septum-}"); cat "${names[@]/%/.tar}" | sha256sum | cut -c1-16; }

# diagnose prints what a reader needs to see what went wrong.
diagnose() {
  {
    title "Pods, and the last lines of Septum's logs"
    kubectl get pods -A -o wide || :
    kubectl -n $namespace get events --sort-by=.lastTimestamp | tail -n 15 || :
    local component
    for component in operator enforcer proxy; do
      kubectl -n $namespace logs -l "app.kubernetes.io/component=$component" --all-containers --prefix --tail=15 || :
    done
    kubectl get l7policystatus -A -o wide || :
  } >&2 2>&1
}
