// Package stream is how a node's enforcer and Septum's own proxy speak: one gRPC stream over
// a unix socket. In: the set of classes that the proxy is to serve ([Set]), and the verdicts
// that it gave. Out: each at the other end.
//
// [Server] is the enforcer's end. A set is sent whole, and the proxy answers that it holds
// it and listens for all of it, or that it still has the set before. [Client] is the proxy's
// end; it connects again for as long as it runs.
package stream
