package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/septum-dev/septum/xds/septumpb"
)

// held is the resources of one type that a node has been sent. It is never changed: each
// response makes a new one.
type held[M resourceMessage] struct {
	entries map[string]heldEntry[M]
	// version is the checkpoint's, which has been found to be the hash of the others.
	version string
}

type heldEntry[M resourceMessage] struct {
	wire    []byte
	version string
	message M
	// strange is why this version cannot judge by the resource, if it cannot.
	strange error
}

type resourceMessage interface {
	proto.Message
	GetCheckpoint() *septumpb.Checkpoint
}

// versions is what the server is told at the start of a stream, so that it resends nothing.
func (h held[M]) versions() map[string]string {
	out := make(map[string]string, len(h.entries))
	for name, entry := range h.entries {
		out[name] = entry.version
	}
	return out
}

func (h held[M]) messages() map[string]M {
	out := make(map[string]M, len(h.entries))
	for name, entry := range h.entries {
		out[name] = entry.message
	}
	return out
}

func (h held[M]) wires() map[string][]byte {
	out := make(map[string][]byte, len(h.entries))
	for name, entry := range h.entries {
		out[name] = entry.wire
	}
	return out
}

// understood wants every resource to be one that this version knows all of.
func (h held[M]) understood() error {
	for _, name := range slices.Sorted(maps.Keys(h.entries)) {
		if err := h.entries[name].strange; err != nil {
			return fmt.Errorf("%s: %w", quote(name), err)
		}
	}
	return nil
}

// apply returns what is held after the response. An error means that the result is not
// what the server has, and that all must be asked for again.
func (h held[M]) apply(response *discovery.DeltaDiscoveryResponse, empty func() M) (held[M], error) {
	entries := maps.Clone(h.entries)
	if entries == nil {
		entries = map[string]heldEntry[M]{}
	}
	for _, name := range response.GetRemovedResources() {
		delete(entries, name)
	}
	seen := make(map[string]bool, len(response.GetResources()))
	for _, r := range response.GetResources() {
		name := r.GetName()
		if seen[name] {
			return held[M]{}, fmt.Errorf("%s comes twice in one response", quote(name))
		}
		seen[name] = true
		if url := r.GetResource().GetTypeUrl(); url != response.GetTypeUrl() {
			return held[M]{}, fmt.Errorf("%s is of type %s", quote(name), quote(url))
		}
		entry, err := newEntry(r.GetResource().GetValue(), empty)
		if err != nil {
			return held[M]{}, fmt.Errorf("%s: %w", quote(name), err)
		}
		if entry.version != r.GetVersion() {
			return held[M]{}, fmt.Errorf("%s is not what its version says", quote(name))
		}
		entries[name] = entry
	}
	return newHeld(entries)
}

// restore is apply for what was kept on disk.
func restore[M resourceMessage](wires map[string][]byte, empty func() M) (held[M], error) {
	entries := make(map[string]heldEntry[M], len(wires))
	for name, wire := range wires {
		entry, err := newEntry(wire, empty)
		if err != nil {
			return held[M]{}, fmt.Errorf("%s: %w", quote(name), err)
		}
		entries[name] = entry
	}
	return newHeld(entries)
}

func newEntry[M resourceMessage](wire []byte, empty func() M) (heldEntry[M], error) {
	message := empty()
	if err := proto.Unmarshal(wire, message); err != nil {
		return heldEntry[M]{}, err
	}
	return heldEntry[M]{wire: wire, version: resourceVersion(wire), message: message, strange: checkUnderstood(message)}, nil
}

func newHeld[M resourceMessage](entries map[string]heldEntry[M]) (held[M], error) {
	out := held[M]{entries: entries}
	checkpoint, ok := entries[CheckpointName]
	if !ok {
		return held[M]{}, errMissingCheckpoint
	}
	out.version = checkpoint.message.GetCheckpoint().GetVersion()
	if out.version != checkpointVersion(out.versions()) {
		return held[M]{}, errors.New("the resources are not those that the checkpoint closes")
	}
	return out, nil
}

func emptyNode() *septumpb.NodeResource       { return &septumpb.NodeResource{} }
func emptyCluster() *septumpb.ClusterResource { return &septumpb.ClusterResource{} }
