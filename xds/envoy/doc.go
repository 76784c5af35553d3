// Package envoy makes a node's Envoy configuration from its policy, and serves it.
//
// In: a [policy.NodePolicy] and the node's [policy.Numbers]. Out: a [Set] of listeners,
// route configurations and clusters ([Resources], pure), Envoy's bootstrap ([Bootstrap]),
// and a [Server] that gives both to the one Envoy of the node over a unix socket and turns
// its access log into [policy.Event] values.
//
// A class is one listener, whose bytes depend on the class's name, direction and port
// alone. What the class's rules say is in its route configuration, so that a change acts on
// the next request of connections that are already there. A class of TLS has its rules in
// the listener's filter chains, which Envoy replaces one by one: see tlsListenerFor.
//
// What a client or server can still see of the proxy, as Envoy has no way to leave it be:
// a path is normalised; requests come as HTTP/1.1 where they were 1.0, and with a host;
// trailers' names are in lower case; a request with a method other than GET or HEAD and without
// a body gets "content-length: 0"; two Host lines become one; x-envoy- names that Envoy reads itself
// (retries, timeouts) are removed and not acted upon; OPTIONS * is answered 404, an empty
// x-forwarded-proto too; an upgrade to a protocol that is not in upgrades is refused; a
// client that shuts its sending side down ends its request; what is pipelined behind a
// refusal is not answered; a server that cannot be reached is a 503.
package envoy
