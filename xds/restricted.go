package xds

import (
	"errors"
	"strings"

	cache "github.com/envoyproxy/go-control-plane/pkg/cache/v3"

	"github.com/septum-dev/septum/xds/septumpb"
)

// restrictedKey is a node and the features that it lacks. A node has more than one only while
// its streams of before and after an update overlap.
type restrictedKey struct{ node, lacks string }

// restricted is what is served to the streams of a node that lack the same features.
type restricted struct {
	lacks   []string
	streams int
	// linear and in are filled with the first watch, under setMu.
	linear *cache.LinearCache
	in     map[string]*septumpb.NodeResource
}

func keyOf(node string, lacks []string) restrictedKey {
	return restrictedKey{node, strings.Join(lacks, " ")}
}

// hold keeps what a stream of these features needs, until release.
func (c *caches) hold(node string, features []string) {
	lacks := lacking(features)
	if len(lacks) == 0 {
		return
	}
	c.restrictedMu.Lock()
	defer c.restrictedMu.Unlock()
	key := keyOf(node, lacks)
	if c.restricted[key] == nil {
		c.restricted[key] = &restricted{lacks: lacks}
	}
	c.restricted[key].streams++
}

func (c *caches) release(node string, features []string) {
	c.restrictedMu.Lock()
	defer c.restrictedMu.Unlock()
	key := keyOf(node, lacking(features))
	if r := c.restricted[key]; r != nil {
		if r.streams--; r.streams == 0 {
			delete(c.restricted, key)
		}
	}
}

// restrictedFor returns the cache for a stream that holds it.
func (c *caches) restrictedFor(node string, lacks []string) (*cache.LinearCache, error) {
	c.setMu.Lock()
	defer c.setMu.Unlock()
	c.restrictedMu.Lock()
	r := c.restricted[keyOf(node, lacks)]
	c.restrictedMu.Unlock()
	if r == nil {
		return nil, errors.New("the stream has ended")
	}
	if r.linear == nil {
		if err := c.fill(node, r); err != nil {
			return nil, err
		}
	}
	return r.linear, nil
}

// setRestricted brings what the node's streams hold up to date; setMu is held.
func (c *caches) setRestricted(node string) error {
	var of []*restricted
	c.restrictedMu.Lock()
	for key, r := range c.restricted {
		if key.node == node && r.linear != nil {
			of = append(of, r)
		}
	}
	c.restrictedMu.Unlock()
	for _, r := range of {
		if err := c.fill(node, r); err != nil {
			return err
		}
	}
	return nil
}

// fill gives r what the node's resources are for it. Who observes is told first: the node may
// report the version as soon as it is served.
func (c *caches) fill(node string, r *restricted) error {
	whole := c.inNodes[node]
	resources, err := Restrict(whole, r.lacks)
	if err != nil {
		return err
	}
	c.told(node, Restriction{
		Version: resources[CheckpointName].GetCheckpoint().GetVersion(),
		Of:      whole[CheckpointName].GetCheckpoint().GetVersion(), Lacks: r.lacks,
	})
	if r.linear == nil {
		r.linear = cache.NewLinearCache(NodeType)
	}
	if err := update(r.linear, r.in, resources); err != nil {
		return err
	}
	r.in = resources
	return nil
}
