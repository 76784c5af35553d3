// Package envoy makes a node's Envoy configuration from its policy, and serves it.
//
// In: a [policy.NodePolicy] and the node's [policy.Numbers]. Out: a [Set] of listeners,
// route configurations and clusters ([Resources], pure), Envoy's bootstrap ([Bootstrap]),
// and a [Server] that gives both to the one Envoy of the node over a unix socket and turns
// its access log into [policy.Event] values.
//
// A class is one listener, whose bytes depend on the class's name, direction and port
// alone. What the class's rules say is in its route configuration, so that a change acts on
// the next request of connections that are already there.
package envoy
