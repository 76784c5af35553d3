package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cache "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/septum-dev/septum/xds/septumpb"
)

// caches hold what is served: one linear cache for all nodes together, and one for each
// node. A linear cache writes each resource to bytes once, whoever asks for it.
type caches struct {
	mu      sync.RWMutex
	cluster *cache.LinearCache
	nodes   map[string]*cache.LinearCache

	// setMu is held while the caches are written. What they hold is kept beside them,
	// because a cache takes every resource that it is given for a changed one.
	setMu     sync.Mutex
	inCluster map[string]*septumpb.ClusterResource
	inNodes   map[string]map[string]*septumpb.NodeResource

	// restricted are what nodes get that lack features, as long as they hold a stream; restrictedMu
	// is taken after setMu. told hears of each new version of theirs.
	restrictedMu sync.Mutex
	restricted   map[restrictedKey]*restricted
	told         func(node string, to Restriction)
}

func newCaches(told func(node string, to Restriction)) *caches {
	return &caches{
		cluster: cache.NewLinearCache(ClusterType), nodes: map[string]*cache.LinearCache{},
		inNodes:    map[string]map[string]*septumpb.NodeResource{},
		restricted: map[restrictedKey]*restricted{}, told: told,
	}
}

// set makes the caches hold the publication and nothing else. It returns the nodes that
// were there and are not in it.
func (c *caches) set(p Publication) (removed []string, err error) {
	c.setMu.Lock()
	defer c.setMu.Unlock()
	if err := update(c.cluster, c.inCluster, p.Cluster); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c.inCluster = p.Cluster
	for _, node := range slices.Sorted(maps.Keys(p.Nodes)) {
		c.mu.RLock()
		linear, known := c.nodes[node]
		c.mu.RUnlock()
		if !known {
			linear = cache.NewLinearCache(NodeType)
		}
		if err := update(linear, c.inNodes[node], p.Nodes[node]); err != nil {
			return nil, fmt.Errorf("node %q: %w", node, err)
		}
		c.inNodes[node] = p.Nodes[node]
		if err := c.setRestricted(node); err != nil {
			return nil, fmt.Errorf("node %q: %w", node, err)
		}
		if !known { // after it was filled: nobody may see it empty
			c.mu.Lock()
			c.nodes[node] = linear
			c.mu.Unlock()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for node := range c.nodes {
		if _, keep := p.Nodes[node]; !keep {
			delete(c.nodes, node)
			delete(c.inNodes, node)
			removed = append(removed, node)
		}
	}
	return removed, nil
}

// update gives a cache what differs, in one step.
func update[M proto.Message](linear *cache.LinearCache, old, new map[string]M) error {
	before, known := old[CheckpointName]
	after, complete := new[CheckpointName]
	if known && complete && proto.Equal(before, after) {
		return nil // a checkpoint names the hash of all the others
	}
	changed, gone := map[string]types.Resource{}, []string(nil)
	for name, resource := range new {
		if before, ok := old[name]; !ok || !proto.Equal(before, resource) {
			changed[name] = resource
		}
	}
	for name := range old {
		if _, ok := new[name]; !ok {
			gone = append(gone, name)
		}
	}
	if len(changed)+len(gone) == 0 {
		return nil
	}
	return linear.UpdateResources(changed, gone)
}

// CreateDeltaWatch implements cache.ConfigWatcher. The node in the request is the one
// that the client's certificate names; see adsStream.
func (c *caches) CreateDeltaWatch(request *cache.DeltaRequest, sub cache.Subscription, out chan cache.DeltaResponse) (func(), error) {
	if request.GetTypeUrl() == ClusterType {
		return c.cluster.CreateDeltaWatch(request, sub, out)
	}
	node := request.GetNode().GetId()
	c.mu.RLock()
	linear, ok := c.nodes[node]
	c.mu.RUnlock()
	if !ok {
		return nil, status.Errorf(codes.NotFound, "node %q is not a node of the cluster", node)
	}
	if lacks := lacking(request.GetNode().GetClientFeatures()); len(lacks) > 0 {
		var err error
		if linear, err = c.restrictedFor(node, lacks); err != nil {
			return nil, status.Errorf(codes.Internal, "node %q: %s", node, err)
		}
	}
	return linear.CreateDeltaWatch(request, sub, out)
}

// CreateWatch implements cache.ConfigWatcher: whole states are not served.
func (c *caches) CreateWatch(*cache.Request, cache.Subscription, chan cache.Response) (func(), error) {
	return nil, errors.New("only delta streams are served")
}
