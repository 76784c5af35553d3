# shellcheck shell=bash
# Image archives: those of the cluster itself, and the import of any into the nodes.

# make_images packs what the cluster needs before any pod can run, once for each version.
make_images() {
  local dir
  dir=$(images_dir)
  build_tool forward
  if [ -e "$dir/coredns.tar" ] && [ -e "$dir/pause.tar" ]; then return 0; fi
  mkdir -p "$dir"
  build_tool image
  build_tool pause
  "$STATE/bin/image" -tag localhost/septum-pause:1 -entrypoint /pause -user 65535:65535 \
    -o "$dir/.pause.$$" "$STATE/bin/pause:/pause"
  "$STATE/bin/image" -tag septum-coredns:1 -entrypoint /coredns \
    -o "$dir/.coredns.$$" "$BIN_DIR/coredns:/coredns"
  mv "$dir/.pause.$$" "$dir/pause.tar"
  mv "$dir/.coredns.$$" "$dir/coredns.tar"
}

# images_dir is where they are kept: for other sources than before, another one.
images_dir() {
  local sum
  sum=$(cat "$ROOT"/test/cluster/lib/images.sh "$ROOT"/test/cluster/{image,pause}/*.go | sha256sum)
  printf '%s\n' "$BIN_DIR/images/${sum:0:12}"
}

build_tool() {
  mkdir -p "$STATE/bin"
  (cd "$ROOT" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -o "$STATE/bin/$1" "./test/cluster/$1") ||
    die "building test/cluster/$1 failed"
}

# cluster_load imports each archive into every node that has not had these bytes yet.
cluster_load() {
  local file sum node job jobs loaded
  [ $# -gt 0 ] || die "usage: cluster load FILE.tar…"
  for file in "$@"; do
    [ -r "$file" ] || die "there is no image archive $file"
    sum=$(sha256sum "$file" | cut -c1-64)
    jobs=() loaded=no
    for node in "${NODES[@]}"; do
      [ ! -e "$STATE/$node/loaded/$sum" ] || continue
      loaded=yes
      import "$node" "$file" "$sum" &
      jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job" || die "$file was not loaded"; done
    [ "$loaded" = no ] || step "Loaded $(basename "$file")"
  done
}

# import NODE FILE SUM reads the archive from standard input, as the node has mounts of its own.
import() {
  local message
  message=$(node_exec "$1" ctr -a /run/containerd/containerd.sock -n k8s.io images import - <"$2" 2>&1) || {
    printf 'cluster: %s: %s\n' "$1" "$message" >&2
    return 1
  }
  date >"$STATE/$1/loaded/$3"
}
