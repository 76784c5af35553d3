// Package bpf enforces policy on layers 3 and 4, and steers what needs layer 7 to the
// node's proxy.
//
// In: a [State], which [Entries] makes from a policy.NodePolicy (a pure function), the
// interfaces of pods ([PodLink]) and the proxy's namespace ([ProxyLink]).
// Out: packets that go on, are dropped or are steered; [Event] and [Counter] values.
//
// The programs are in src, one header a concern. A pod's own packets are judged at the
// ingress of the host side of its veth, those to it at the egress. What a table redirects
// goes over its leg's veth into the proxy's namespace, where sk_lookup gives it to the listener
// of its class; what the proxy sends comes back over a veth and is put where it would have
// been without a proxy.
//
// Programs, links and maps are pinned: they outlive the process that loads them. Everything
// that is special to a node stands in its maps, so that several nodes can share a machine.
package bpf
