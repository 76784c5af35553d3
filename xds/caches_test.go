package xds

import (
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cache "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"

	"github.com/septum-dev/septum/xds/septumpb"
)

// TestAResourceIsWrittenOnce: whoever asks gets the same bytes, not equal ones.
func TestAResourceIsWrittenOnce(t *testing.T) {
	c := newCaches(newRecorder().Restricted)
	node, cluster := resources(t, samplePolicy("node1"))
	if _, err := c.set(Publication{Cluster: cluster, Nodes: map[string]map[string]*septumpb.NodeResource{"node1": node}}); err != nil {
		t.Fatal(err)
	}
	ask := func() map[string]*byte {
		out := make(chan cache.DeltaResponse, 1)
		sub := stream.NewDeltaSubscription([]string{"*"}, nil, nil, false)
		if _, err := c.CreateDeltaWatch(&discovery.DeltaDiscoveryRequest{TypeUrl: ClusterType}, &sub, out); err != nil {
			t.Fatal(err)
		}
		response, err := (<-out).GetDeltaDiscoveryResponse()
		if err != nil {
			t.Fatal(err)
		}
		bytes := map[string]*byte{}
		for _, r := range response.GetResources() {
			bytes[r.GetName()] = &r.GetResource().GetValue()[0]
		}
		return bytes
	}
	one, two := ask(), ask()
	if len(one) != len(cluster) {
		t.Fatalf("%d resources, want %d", len(one), len(cluster))
	}
	for name, at := range one {
		if two[name] != at {
			t.Errorf("%s was written twice", name)
		}
	}
}
