# shellcheck shell=bash
# Names, places and messages that every other part uses.

CLUSTER=${CLUSTER:-septum}
NODES=(node1 node2)
# shellcheck disable=SC2154 # here is set by the script that reads this file
ROOT=$(cd "$here/../.." && pwd)
suffix=""
[ "$CLUSTER" = septum ] || suffix=-$CLUSTER
STATE=${SEPTUM_STATE:-$ROOT/build/cluster$suffix}
KUBECONFIG_FILE=${SEPTUM_KUBECONFIG:-$ROOT/build/demo$suffix/kubeconfig}
CACHE=${SEPTUM_CACHE:-${HOME:-/root}/.cache/septum}
PATH=$PATH:/usr/sbin:/sbin

CP_IP=10.99.0.1
CP_IP6=fd00:10:99::1
SERVICE_CIDR=10.96.0.0/16
SERVICE_CIDR6=fd00:10:96::/112
SERVICE_IP=10.96.0.1
DNS_IP=10.96.0.10
API_PORT=16443 # on the machine's loopback; another free one where it is taken

started=${SEPTUM_STARTED:-$(date +%s)}

# step says what begins now, with the seconds since the command began.
step() { printf '[%4ds] %s\n' $(($(date +%s) - started)) "$*"; }

die() {
  printf 'cluster: %s\n' "$*" >&2
  exit 1
}

[[ $CLUSTER =~ ^[a-z][a-z0-9-]{0,20}$ ]] ||
  die "CLUSTER=$CLUSTER: use at most 21 of a-z, 0-9 and -, beginning with a letter"

cp_ns() { printf '%s-cp' "$CLUSTER"; }
node_ns() { printf '%s-%s' "$CLUSTER" "$1"; }
node_number() { printf '%s' "${1#node}"; }
node_ip() { printf '10.99.0.%d' $((10 + $(node_number "$1"))); }
node_ip6() { printf 'fd00:10:99::%d' $((10 + $(node_number "$1"))); }
pod_cidr6() { printf 'fd00:10:244:%d::/64' "$(node_number "$1")"; }

# dual is true where pods, services and nodes have IPv6 beside IPv4: everywhere but on a
# machine without it, or where CLUSTER_FAMILIES says ipv4.
dual() { [ "${CLUSTER_FAMILIES:-dual}" = dual ] && [ -e /proc/net/if_inet6 ]; }

pod_cidr() { printf '10.244.%d.0/24' "$(node_number "$1")"; }

# need_root refuses early, with what to do.
need_root() {
  [ "$(id -u)" -eq 0 ] || die "namespaces, mounts and BPF need root: run it with sudo"
}

# locked runs a command while no other one changes the same cluster.
locked() {
  need_root
  mkdir -p "$(dirname "$STATE")"
  exec 9>"$STATE.lock"
  flock -w 900 9 || die "another command has worked on cluster $CLUSTER for 15 minutes"
  "$@"
  rm -f "$STATE.lock"
}

# wait_for SECONDS WHAT COMMAND… tries until the command succeeds.
wait_for() {
  local limit=$1 what=$2 from=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $((SECONDS - from)) -ge "$limit" ]; then
      "$@" >&2 || :
      die "$what did not happen within $limit s; logs are in $STATE/logs"
    fi
    sleep 0.3
  done
}

# daemon NAME COMMAND… starts a process that outlives this command.
daemon() {
  local name=$1
  shift
  setsid "$@" >>"$STATE/logs/$name.log" 2>&1 </dev/null 9>&- &
  printf '%s\n' "$!" >"$STATE/pids/$name"
}

kube() { "$BIN_DIR/kubectl" --kubeconfig "$KUBECONFIG_FILE" "$@"; }
