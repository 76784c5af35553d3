// Package conformance is the truth table of what policies mean: small cases of policies,
// a cluster, and requests with the verdicts that they must get. Every backend runs all of
// them, and two that disagree are a bug.
//
// A case is a file in cases, in txtar form:
//
//	SEMANTICS 1 5                     the lines of the semantics that it shows
//	What it shows, in words.
//	-- policies.yaml --
//	apiVersion: cilium.io/v2 …        policies, as they are applied to a cluster
//	-- cluster --
//	node n1 ip=172.18.0.2 podcidr=10.244.1.0/24 labels=role=edge
//	namespace demo labels=team=a
//	pod demo/web node=n1 ip=10.244.1.2 labels=app=web,tier=front ports=http:80,dns:53/udp sa=web
//	pod demo/agent node=n1 hostnetwork
//	service demo/web ip=10.96.0.8 ports=http:80->8080 backends=demo/web
//	apiserver ip=10.96.0.1 backends=n1
//	-- requests --
//	ingress demo/web -> demo/api tcp/80 GET /data host=api header=x-token:v => forwarded rule=spec.ingress[0].toPorts[0].rules.http[0]
//	egress demo/web -> 8.8.8.8 udp/53 => denied
//	-- problems --
//	Conflict spec.ingress[0].toPorts[0]
//
// A request is judged at the server for ingress, at the client for egress. Either end is
// a pod, a node ("node:n1"), a service's address ("service:demo/web") or an address.
// Words that hold spaces are quoted as in Go. "rule=" without a value is a verdict that no
// rule gave; without "rule=" any rule may have given it. "with=x-token:v" and
// "without=x-token" say what the server gets of a header that policies change. What problems
// does not list must not be a problem; warnings ("warning CanNotMatch spec") need not be listed.
package conformance
