#!/bin/sh
# Puts the Python package confluent-kafka, which has librdkafka in it, where the tests find
# it, without installing it for others, and prints the directory.
set -eu

version=2.16.1
python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
dir=${SEPTUM_CACHE:-$HOME/.cache/septum}/confluent-kafka-$version-python$python
if [ ! -e "$dir/complete" ]; then
	mkdir -p "$dir"
	exec 9>"$dir.lock"
	flock 9
	[ -e "$dir/complete" ] || python3 -m pip install -q --upgrade --no-deps --only-binary :all: --target "$dir" \
		"confluent-kafka==$version" >&2
	PYTHONPATH=$dir python3 -c 'import confluent_kafka'
	touch "$dir/complete"
fi
echo "$dir"
