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
//	learnt demo/web name=www.example.com ip=203.0.113.7   what the DNS told the pod
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
//
// `token=own{"iss":"i"}` puts a JSON Web Token with these claims into the request, signed by the
// test key "own" of package token (which `token=own@x-app{...}` puts into the header x-app);
// "badtoken=" is one that is not valid, which the oracle does not hear of.
//
// "reply=forwarded" is what becomes of the server's answer to the first packet; the programs
// of the data path alone know connections, so they alone can show it. "as=" is how an HTTP
// request is sent, for a real Envoy and a real server only; to the oracle it is the same
// request: http/1.0, h2 (HTTP/2 without a preface of HTTP/1.1), websocket (an upgrade, and bytes
// both ways), continue (a body that waits for 100), trailers (both ways), stream (an answer
// that comes in pieces, the first while the request goes on), large (a body of 8 MiB each way).
// "response=500" is the status of the server's response, which the client must get as it is.
//
// Policies that change have these parts besides. A request with the ends and the port of one
// before goes on with its connection; "cut" is a connection that must end:
//
//	-- policies after --
//	apiVersion: cilium.io/v2 …
//	-- requests after --
//	ingress demo/web -> demo/api tcp/80 GET /other host=api => denied
//	ingress demo/web -> demo/api tcp/90 => cut
//
// Objects that must not be stored, and a part of each one's refusal. The CRDs and admission
// policies are run on them as the API server does (config/crd):
//
//	-- refused.yaml --
//	apiVersion: cilium.io/v2 …
//	-- refusals --
//	spec.ingress[0].toPorts[0].ports[0].port
//
// What an operator says while nodes report (controllers); all policies of the case are sent first:
//
//	-- status --
//	=> Enforced=False
//	n1 has it
//	=> Enforced=True
package conformance
