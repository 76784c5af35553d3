// Package enforcer is the node agent: one loop that makes the node's data path do what
// the operator's policy says.
//
// In: the policy of this node (package xds), the proxy pod's hand-shake (launch), the
// node's interfaces and network namespaces (links), Envoy's acknowledgements and access
// log (xds/envoy), and the BPF programs' events and counters (bpf). Out: Envoy's
// configuration, BPF maps, attached programs, and reports to the operator.
//
// [Enforcer.Run] is the only goroutine that changes anything. Everything else sends to it.
package enforcer
