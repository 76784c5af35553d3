// Package bench measures the data path beside what it must be compared with: direct
// connections, a plain Envoy, two Envoys in a row, Envoy with its rules in a list, and HAProxy.
// Everything runs at once on one node in network namespaces, with the real programs and
// Envoy; blocks of requests are interleaved in random order, so that what disturbs the
// machine disturbs all alike.
//
// The policed ports of a Kafka broker, of CoreDNS and of a server of TLS are measured beside their
// direct ones in the same way.
//
// "go test ./test/bench" runs each measurement for a moment and checks only that every arm
// answers as it must: a request that a policy refuses is refused on each of its connections.
// "make bench" measures, prints the table and writes it to docs/performance.md. No figure is
// asserted.
package bench
