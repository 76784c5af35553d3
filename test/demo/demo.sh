#!/usr/bin/env bash
# The whole of Septum on this machine: two Kubernetes nodes, Septum from its chart, the
# announcement's applications and its policy, and what the policy does to their requests.
#
#   test/demo/demo.sh          bring everything up, show it, and leave it up
#   test/demo/demo.sh again    show it once more, on what is up (the e2e tests use it)
#   test/demo/demo.sh install  bring everything up, without the show (the e2e tests use it)
#   test/demo/demo.sh kafka    bring everything up with a Kafka broker, show that, and leave it up
#   test/demo/demo.sh kafka-install  add the broker to what is up (the e2e tests use it)
#   test/demo/demo.sh diagnose print pods, events and the ends of Septum's logs
#   test/demo/demo.sh down     remove everything
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cluster=$root/test/cluster/cluster
images=$root/build/images
for part in messages install show kafka; do
  # shellcheck source=/dev/null
  . "$here/lib/$part.sh"
done

case ${1:-show} in
  show)
    install
    show
    next_steps
    ;;
  again)
    eval "$("$cluster" env)"
    show
    ;;
  install) install ;;
  kafka)
    install
    kafka_install
    kafka_show
    kafka_next_steps
    ;;
  kafka-install) kafka_install ;;
  diagnose)
    eval "$("$cluster" env)"
    diagnose
    ;;
  down) "$cluster" down ;;
  *) fail "there is no command $1; use: again, install, kafka, kafka-install, diagnose, down, or nothing" ;;
esac
