// Package controllers is the operator: the only part of Septum that talks to the API server.
//
// In: policies of both APIs, pods, namespaces, nodes, services and endpoint slices, and
// the nodes' reports. Any change leads to one whole compile ([snapshotReconciler]): objects →
// ingest.Snapshot → policy.Compile → resources → xds.Server. Out: what the nodes are
// served, the policies' conditions and the L7PolicyStatus objects ([statusWriter]), the
// certificate authority's Secret and ConfigMap ([authority]), metrics and events.
//
// Every replica compiles and serves: versions are hashes of what they name, so a node that
// goes from one replica to another is sent only what differs. The elected leader alone writes,
// and asks the others what their nodes say ([replicas]), so all reports meet in one place.
//
// Rights: get, list, watch of pods, namespaces, nodes, services, endpointslices, the four
// policy kinds and customresourcedefinitions; patch of the four kinds' status; get, list,
// create, patch of l7policystatuses and patch of their status; create of tokenreviews and
// events (patch too); in the operator's own namespace get, create, update of the Secret
// and ConfigMap septum-ca, and get, create, update of the Lease septum-operator.
package controllers
