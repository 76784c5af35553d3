// Package kafka is the proxy for classes of Kafka rules. In: a client's connection and the
// rules. Out: what they allow goes on to the server byte for byte; each topic that they do not
// allow is answered with TOPIC_AUTHORIZATION_FAILED in the client's own version, in the order
// of its requests.
//
// Requests are walked by small schemas ([shape]) that only find topics and partitions, with
// every count held against the bytes that are there. Bodies that a client or server sends are
// never given to a decoder; franz-go's kmsg only writes the answers.
//
//   - Metadata goes on without the names that are denied, so that none is created, and a list
//     of all topics is filtered.
//   - Topic ids are resolved by a Metadata request of the proxy's own to the same server.
//   - Fetch sessions are not passed on: the server answers each Fetch by itself, so that each
//     names all that it asks for, and is judged by the rules of its time.
//   - ApiVersions loses what the proxy cannot read, so that no client sends it.
package kafka
