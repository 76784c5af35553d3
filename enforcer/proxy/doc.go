// Package proxy is Septum's own proxy: what serves, in the proxy's namespace, the classes
// that Envoy cannot. In: a set of classes with their ports. Out: a listener for each, and a
// [Handler] for each connection that the data path gives it.
//
// The listeners are transparent. A connection's local address is the server that its client
// wanted, and the proxy's own connection to that server has the client's address. The sockets
// carry the mark of their leg, as Envoy's do.
//
// The kinds' handlers are packages of their own below this one, and know nothing of sockets.
package proxy
