#!/usr/bin/env bash
# Builds the documentation as a site, in build/site. A link that leads nowhere, and a page that is not in the
# navigation, fail. The generator is kept in the cache, by the versions and hashes that docs/site/requirements.txt names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${SEPTUM_CACHE:-$HOME/.cache/septum}
requirements=docs/site/requirements.txt
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
dir=$cache/mkdocs-$(sha256sum "$requirements" | cut -c1-16)-python$version
if [ ! -e "$dir/complete" ]; then
  mkdir -p "$cache"
  exec 9>"$dir.lock"
  flock 9
  if [ ! -e "$dir/complete" ]; then
    rm -rf "$dir"
    python3 -m pip install -q --root-user-action=ignore --disable-pip-version-check --require-hashes --no-deps --only-binary :all: --target "$dir" -r "$requirements" >&2
    touch "$dir/complete"
  fi
fi
out=$(PYTHONPATH=$dir python3 -m mkdocs build --strict 2>&1) || {
  echo "$out" >&2
  exit 1
}
echo "build/site/index.html"
