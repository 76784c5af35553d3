// Package flow turns verdicts into Hubble flows, keeps the last of them, and serves them
// with Hubble's own API.
//
// In go [policy.Event] values, and the [policy.NodePolicy] that says who is behind their
// addresses. Out come flows for everything that speaks to a Hubble server. What a flow
// quotes of a client's request is made harmless for terminals and loses its query.
package flow
