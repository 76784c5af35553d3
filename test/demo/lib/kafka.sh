# shellcheck shell=bash
# A real Kafka broker on top of the demo, and what a policy on its topics does to two clients.

kafka_sample=$root/config/samples/kafka-orders.yaml

# kafka_install brings up the broker and its clients, beside what install does.
kafka_install() {
  eval "$("$cluster" env)"
  step "Building the broker's image (its jars and Java are fetched the first time)"
  (cd "$root" && go run ./cmd/images -out build/images -bin build/bin -tag dev -only septum-kafka) || fail "the broker's image could not be built"
  "$cluster" load "$images/septum-kafka.tar"
  # The plugin shows the flows.
  (cd "$root" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o build/bin/kubectl-septum ./cmd/kubectl-septum) ||
    fail "kubectl-septum could not be built"
  step "Deploying a Kafka broker, shop and billing in namespace demo"
  kubectl apply -f "$here/kafka" >/dev/null
  local deployment
  for deployment in kafka shop billing; do
    kubectl -n demo rollout status "deployment/$deployment" --timeout=240s >/dev/null || {
      kubectl -n demo logs deployment/kafka --all-containers --tail=20 >&2 || :
      diagnose
      fail "deployment $deployment did not become ready"
    }
  done
}

kafka_show() {
  kubectl -n demo delete ciliumnetworkpolicy,l7networkpolicy kafka-orders --ignore-not-found >/dev/null
  local client
  for client in shop billing; do kafka_answers "$client"; done

  title "Before the policy: both write to and read from every topic"
  try_topic shop produce orders ok
  try_topic billing produce salaries ok
  try_topic shop consume salaries ok
  try_topic billing consume orders ok

  title "The policy: kubectl apply -f config/samples/kafka-orders.yaml"
  grep -v '^#' "$kafka_sample" | sed 's/^/    /'
  kubectl apply -f "$kafka_sample" >/dev/null
  enforced cnp.kafka-orders kafka

  title "After it: shop may write to orders, billing may read them, and that is all"
  try_topic shop produce orders ok
  try_topic shop produce salaries denied
  try_topic shop consume orders denied
  try_topic billing consume orders ok
  try_topic billing consume salaries denied
  try_topic billing produce orders denied
  title "Nobody sees the names of other topics, and nobody else gets in"
  try_topic billing list salaries hidden
  try_topic toolbox produce orders none

  title "kubectl get l7policystatus -n demo"
  kubectl get l7policystatus -n demo
  kafka_flows
  [ "$differences" -eq 0 ] || {
    diagnose
    fail "$differences of the requests above were not answered as expected"
  }
}

# in_pod CLIENT is where a client's commands run.
in_pod() { case $1 in toolbox) echo pod/toolbox ;; *) echo "deployment/$1" ;; esac; }

# kcat CLIENT WHAT TOPIC has the client's kcat work with the topic, and prints what it says.
kcat() {
  local args=(-b kafka:9092 -X socket.connection.setup.timeout.ms=3000)
  case $2 in
    produce) args+=(-P -t "$3" -X message.timeout.ms=8000) ;;
    consume) args+=(-C -t "$3" -o -1 -c 1 -e -q) ;;
    list) args+=(-L -m 8) ;;
  esac
  echo "a record of $1" | kubectl -n demo exec -i "$(in_pod "$1")" -- timeout 20 kcat "${args[@]}" 2>&1 | grep -v 'command terminated' || :
}

# kafka_answers waits until a client finds the broker: a Service and DNS may need a moment.
kafka_answers() {
  local from=$SECONDS
  until [[ $(kcat "$1" list -) == *'1 brokers'* ]]; do
    [ $((SECONDS - from)) -lt 90 ] || {
      kcat "$1" list - >&2
      diagnose
      fail "$1 gets no answer from the broker, though there is no policy"
    }
    sleep 0.5
  done
}

# try_topic CLIENT WHAT TOPIC EXPECTED prints what one client's kcat says.
try_topic() {
  local said got good=no
  said=$(kcat "$1" "$2" "$3")
  got=$(grep -v 'ApiVersionRequest\|^%3' <<<"$said" | tail -n 1)
  case $4 in
    ok)
      case $2 in
        produce) [ -n "$said" ] || { good=yes got="written"; } ;;
        consume) [[ $said != "a record of "* ]] || good=yes ;;
      esac
      ;;
    denied) [[ $said != *"Topic authorization failed"* ]] || good=yes ;;
    hidden) [[ $said != *'1 brokers'* || $said == *"\"$3\""* ]] || { good=yes got=$(grep topic <<<"$said" | xargs); } ;;
    none) [[ $said != *"timed out"* && $said != *"transport failure"* ]] || good=yes ;;
  esac
  if [ $good = yes ]; then
    printf '  %sok%s  %-8s %-8s %-9s -> %s\n' "$green" "$plain" "$1" "$2" "$3" "$got"
  else
    printf '  %sDIFFERENT%s  %s %s %s -> %s\n             expected: %s\n' "$red" "$plain" "$1" "$2" "$3" "${said:-nothing}" "$4"
    differences=$((differences + 1))
  fi
}

# kafka_flows shows the last refusals of both nodes, with the kubectl plugin.
kafka_flows() {
  local seen options=(--namespace demo --protocol kafka --verdict DROPPED --last 8)
  title "kubectl septum flows ${options[*]}"
  seen=$("$root/build/bin/kubectl-septum" flows "${options[@]}")
  printf '%s\n' "$seen"
  [[ $seen == *"'orders' error 29"* && $seen == *"'salaries' error 29"* ]] || {
    printf '  %sDIFFERENT%s  no flows of the denied topics\n' "$red" "$plain"
    differences=$((differences + 1))
  }
}

kafka_next_steps() {
  title "It is all still up. What to try next"
  cat <<NEXT
  eval "\$(test/cluster/cluster env)"     # kubectl, helm and KUBECONFIG=build/demo/kubeconfig
  kubectl -n demo exec -it deploy/shop -- kcat -b kafka:9092 -P -t orders       # a line, a record
  kubectl -n demo exec -it deploy/billing -- kcat -b kafka:9092 -C -t orders
  kubectl -n demo edit ciliumnetworkpolicy kafka-orders             # acts on the next request, also of open connections
  build/bin/kubectl-septum flows -n demo --protocol kafka --follow
  make demo-down                          # removes all of it
NEXT
}
