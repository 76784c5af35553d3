# shellcheck shell=bash
# What is outside of the cluster: addresses of the control plane's namespace, which are the
# world to pods. The cluster's DNS knows them by names (manifests/coredns.yaml).

WORLD_IPS=(10.99.0.80 10.99.0.81)
WORLD_IP6S=(fd00:10:99::80 fd00:10:99::81)

# cluster_world PROGRAM ARGS… runs a copy of the program there, in place of the one before.
cluster_world() {
  [ -e "$STATE/up" ] || die "cluster $CLUSTER does not run"
  local program=$STATE/world pid ip
  pid=$(cat "$STATE/pids/world" 2>/dev/null || :)
  [ -z "$pid" ] || ! ours "$pid" || end_processes "$pid"
  cp "$1" "$program.new" && mv "$program.new" "$program"
  shift
  for ip in "${WORLD_IPS[@]}"; do ip -n "$(cp_ns)" addr replace "$ip/24" dev br0; done
  ! dual || for ip in "${WORLD_IP6S[@]}"; do ip -n "$(cp_ns)" addr replace "$ip/64" dev br0 nodad; done
  daemon world nsenter --net="/run/netns/$(cp_ns)" "$program" "$@"
}
