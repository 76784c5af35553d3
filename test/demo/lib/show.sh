# shellcheck shell=bash
# The requests themselves: each with what is expected, and what came.

sample=$root/config/samples/allow-get-data.yaml
by_name=$root/config/samples/egress-by-name.yaml
differences=0
agent="" # the enforcer's pod on the node of backend-app

show() {
  remove_policies
  local client
  for client in "${clients[@]}"; do answers "$client"; done

  title "Before the policy: everything answers"
  for client in "${clients[@]}"; do
    try "$client" GET /data 200
    try "$client" POST /data 200
  done

  title "The policy: kubectl apply -f config/samples/allow-get-data.yaml"
  grep -v '^#' "$sample" | sed 's/^/    /'
  kubectl apply -f "$sample" >/dev/null
  enforced cnp.allow-get-products backend-app

  title "After it: frontend-app may GET /data, and nothing else"
  for client in frontend-app frontend-remote; do
    try "$client" GET /data 200
    try "$client" GET /other 403
    try "$client" POST /data 403
  done
  title "A client that the policy does not name is not let in at all"
  try other-app GET /data none
  try other-remote GET /data none

  title "kubectl get l7policystatus -n demo"
  kubectl get l7policystatus -n demo
  flows
  egress_by_name
  [ "$differences" -eq 0 ] || {
    diagnose
    fail "$differences of the requests above were not answered as expected"
  }
}

# egress_by_name shows what frontend-app may reach outside of the cluster, by its names.
egress_by_name() {
  title "Outside of the cluster: api.example.com and www.example.com answer everybody"
  try_name frontend-app http://api.example.com/data 200
  try_name frontend-app http://www.example.com/data 200

  title "The policy: kubectl apply -f config/samples/egress-by-name.yaml"
  grep -v '^#' "$by_name" | sed 's/^/    /'
  kubectl apply -f "$by_name" >/dev/null
  enforced cnp.egress-by-name frontend-app

  title "After it: frontend-app may look up api.example.com, and connect to what that leads to"
  local client
  for client in frontend-app frontend-remote; do
    try_name "$client" http://api.example.com/data 200
    try_name "$client" http://www.example.com/data unknown
    try_name "$client" http://10.99.0.81/data none
  done
  try_name other-app http://www.example.com/data 200

  title "kubectl get l7policystatus -n demo"
  kubectl get l7policystatus -n demo
}

# flows shows the last refusals, as Hubble writes them, from the node that gave them.
flows() {
  local node seen denied
  node=$(kubectl -n demo get pods -l app=backend-app -o 'jsonpath={.items[0].spec.nodeName}')
  agent=$(kubectl -n septum-system get pods -l app.kubernetes.io/component=enforcer \
    --field-selector "spec.nodeName=$node" -o 'jsonpath={.items[0].metadata.name}')
  title "kubectl -n septum-system exec -c enforcer $agent -- /septum-enforcer flows --verdict DROPPED --last 12"
  seen=$(kubectl -n septum-system exec -c enforcer "$agent" -- /septum-enforcer flows --verdict DROPPED --last 12)
  printf '%s\n' "$seen"
  for denied in 'GET http://backend-app/other' 'POST http://backend-app/data' 'demo/other-remote'; do
    [[ $seen == *"$denied"*DROPPED* ]] || {
      printf '  %sDIFFERENT%s  no DROPPED flow of %s\n' "$red" "$plain" "$denied"
      differences=$((differences + 1))
    }
  done
}

# remove_policies begins from no policy of the demo, also after a run before.
remove_policies() {
  kubectl -n demo delete ciliumnetworkpolicy,l7networkpolicy allow-get-products egress-by-name kafka-orders --ignore-not-found >/dev/null
  local others
  others=$(kubectl -n demo get ciliumnetworkpolicy,l7networkpolicy -o name 2>/dev/null)
  [ -z "$others" ] || fail "namespace demo has policies of yours, which change what is shown here: $(echo $others)"
}

# enforced STATUS APP waits until every node that hosts a selected pod says so.
enforced() {
  local status=$1
  kubectl -n demo wait --for=create "l7policystatus/$status" --timeout=60s >/dev/null &&
    kubectl -n demo wait --for=condition=Enforced "l7policystatus/$status" --timeout=60s >/dev/null || {
    diagnose
    fail "the policy is not enforced after a minute"
  }
  step "Enforced on $(kubectl -n demo get "l7policystatus/$status" -o 'jsonpath={.status.enforcing}') nodes that have a pod of $2"
}

# request CLIENT METHOD PATH makes the request in the client's pod.
request() {
  kubectl -n demo exec "deployment/$1" -- /septum-demo get -timeout 3s -X "$2" "http://backend-app$3" 2>/dev/null || :
}

# answers waits for the client's first answer: Services and DNS may need a moment.
answers() {
  local from=$SECONDS
  until [[ $(request "$1" GET /data) == 200* ]]; do
    [ $((SECONDS - from)) -lt 60 ] || {
      diagnose
      fail "$1 gets no answer from backend-app, though there is no policy"
    }
    sleep 0.5
  done
}

# try CLIENT METHOD PATH EXPECTED prints one request. EXPECTED is a status, or none.
try() {
  local place address got good=no want
  read -r place address < <(kubectl -n demo get pods -l "client=$1" --field-selector=status.phase=Running \
    -o 'jsonpath={.items[0].spec.nodeName} {.items[0].status.podIP}{"\n"}')
  got=$(request "$1" "$2" "$3")
  case $4 in
    200)
      # The server must have seen the client pod's own address.
      want="200 and its own address $address" good=no
      [[ $got != "200 "*" $2 $3 from $address" ]] || good=yes
      ;;
    403)
      want="403 Access denied"
      [[ $got != "$want" ]] || good=yes
      ;;
    none)
      want="no answer"
      [[ $got != "no answer"* ]] || good=yes
      ;;
  esac
  if [ $good = yes ]; then
    printf '  %sok%s  %-15s on %s  %-4s %-7s -> %s\n' "$green" "$plain" "$1" "$place" "$2" "$3" "$got"
  else
    printf '  %sDIFFERENT%s  %s on %s  %s %s -> %s\n             expected: %s\n' \
      "$red" "$plain" "$1" "$place" "$2" "$3" "${got:-nothing}" "$want"
    differences=$((differences + 1))
  fi
}

# try_name CLIENT URL EXPECTED prints one request to the world: 200, none, or unknown for a name that
# cannot be looked up.
try_name() {
  local got good=no want=$3
  got=$(kubectl -n demo exec "deployment/$1" -- /septum-demo get -timeout 3s "$2" 2>/dev/null || :)
  case $3 in
    200) [[ $got != "200 "* ]] || good=yes ;;
    none) [[ $got != "no answer: timed out"* ]] || good=yes ;;
    unknown) [[ $got != "no answer: the name is not known"* ]] || good=yes ;;
  esac
  if [ $good = yes ]; then
    printf '  %sok%s  %-15s %-27s -> %s\n' "$green" "$plain" "$1" "$2" "$got"
  else
    printf '  %sDIFFERENT%s  %s %s -> %s\n             expected: %s\n' "$red" "$plain" "$1" "$2" "${got:-nothing}" "$want"
    differences=$((differences + 1))
  fi
}

next_steps() {
  title "It is all still up. What to try next"
  cat <<NEXT
  eval "\$(test/cluster/cluster env)"     # kubectl, helm and KUBECONFIG=build/demo/kubeconfig
  kubectl get l7policystatus -A -o wide
  kubectl -n septum-system exec -c enforcer $agent -- /septum-enforcer flows --follow
  kubectl -n demo exec -it toolbox -- bash          # curl, dig, openssl, grpcurl, kcat, wrk
  kubectl -n demo exec deploy/frontend-app -- /septum-demo get http://backend-app/data
  kubectl -n demo exec deploy/frontend-app -- /septum-demo get http://api.example.com/data
  kubectl -n demo edit ciliumnetworkpolicy allow-get-products   # acts on the next request, also of open connections
  kubectl -n demo label pod toolbox app=frontend-app --overwrite    # lets the toolbox in
  kubectl apply -f config/samples/announcement-as-published.yaml  # refused: the quote in "80” is a typographic one
  make demo-down                                    # removes all of it
NEXT
}
