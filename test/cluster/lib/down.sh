# shellcheck shell=bash
# Removes what the cluster made, also when it came up only half or its state was lost.

cluster_down() {
  refuse_foreign
  if ! exists && [ ! -e "$KUBECONFIG_FILE" ]; then
    remove_cgroups
    step "Cluster $CLUSTER does not run"
    return 0
  fi
  step "Ending cluster $CLUSTER"
  remove_all
  step "Nothing of cluster $CLUSTER is left"
}

remove_all() {
  local file pid
  for file in "$STATE"/pids/*; do
    [ -e "$file" ] || continue
    pid=$(cat "$file")
    ! ours "$pid" || end_processes "$pid"
  done
  remove_network
  remove_cgroups
  rm -rf --one-file-system "$STATE"
  rm -f "$KUBECONFIG_FILE"
  rmdir --ignore-fail-on-non-empty "$(dirname "$KUBECONFIG_FILE")" 2>/dev/null || :
}

# refuse_foreign stops where the running cluster of this name belongs to another work tree.
refuse_foreign() {
  local pid owner
  for pid in $(ip netns pids "$(cp_ns)" 2>/dev/null); do
    owner=$(tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | sed -n 's|^--client-ca-file=\(.*\)/pki/ca.crt$|\1|p')
    [ -z "$owner" ] || [ "$owner" = "$STATE" ] ||
      die "cluster $CLUSTER was started from another place, its state is in $owner: use it there, or set CLUSTER to another name"
  done
}

# ours is true when the process is one that this cluster started: a number alone may
# belong to another process by now.
ours() { tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF -e "$STATE/" -e "/run/netns/$CLUSTER-"; }

# end_processes kills and waits until they are gone; a node's first process takes the rest along.
end_processes() {
  local pid from=$SECONDS
  for pid in "$@"; do kill -KILL "$pid" 2>/dev/null || :; done
  for pid in "$@"; do
    while [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; do
      [ $((SECONDS - from)) -lt 30 ] || die "process $pid does not end"
      sleep 0.1
    done
  done
}
