// Package xds carries a node's policy from the operator to the node's enforcer.
//
// The operator turns each [policy.NodePolicy] into small resources ([NodeResources],
// [ClusterResources]) and serves them over delta ADS with mutual TLS ([Server]). The
// enforcer holds them ([Client]), and puts them together again ([Assemble]) each time
// that what it holds is whole: the version in a set's checkpoint is the hash of all of
// the set's other resources. Versions are hashes of contents and nothing else, so an
// operator that starts again, or another one, resends nothing.
//
// The package also makes and renews the certificates of both sides ([CA], [Identity]).
package xds
