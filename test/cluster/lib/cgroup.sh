# shellcheck shell=bash
# Each node has a cgroup of its own in every hierarchy of the machine.

# hierarchies are the mounted cgroup trees, old (v1) and unified.
hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts | grep '^/sys/fs/cgroup' | sort -u; }

make_cgroups() {
  local tree node file controller
  while read -r tree; do
    for node in "${NODES[@]}"; do
      mkdir -p "$tree/$CLUSTER-$node"
      for file in cpuset.cpus cpuset.mems; do
        # A v1 cpuset starts empty, and nothing can run in an empty one.
        if [ -e "$tree/$file" ] && [ ! -e "$tree/cgroup.controllers" ]; then
          cat "$tree/$file" >"$tree/$CLUSTER-$node/$file"
        fi
      done
      if [ -e "$tree/$CLUSTER-$node/cgroup.controllers" ]; then
        for controller in $(cat "$tree/$CLUSTER-$node/cgroup.controllers"); do
          echo "+$controller" >"$tree/$CLUSTER-$node/cgroup.subtree_control" 2>/dev/null || :
        done
      fi
    done
  done < <(hierarchies)
}

remove_cgroups() {
  local tree node left=""
  while read -r tree; do
    for node in "${NODES[@]}"; do
      [ -d "$tree/$CLUSTER-$node" ] || continue
      local from=$SECONDS
      # A process that has just been killed leaves its cgroup a moment later.
      until find "$tree/$CLUSTER-$node" -depth -type d -exec rmdir {} + 2>/dev/null; do
        if [ $((SECONDS - from)) -ge 20 ]; then
          left+=" $tree/$CLUSTER-$node"
          break
        fi
        sleep 0.2
      done
    done
  done < <(hierarchies)
  [ -z "$left" ] || die "these cgroups still have processes:$left"
}
