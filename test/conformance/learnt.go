package conformance

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/septum-dev/septum/policy"
)

// Learnt is an address that a pod was given for a name.
type Learnt struct {
	Addr netip.Addr
	Name string
	// Pod is the pod's key.
	Pod string
}

// learnt reads "learnt demo/web name=www.example.com ip=203.0.113.7".
func (c *cluster) learnt(pod string, set map[string]string) error {
	addr, err := netip.ParseAddr(set["ip"])
	if err != nil || pod == "" || set["name"] == "" {
		return errors.Join(errors.New("needs a pod, name= and ip="), err)
	}
	c.told = append(c.told, Learnt{Addr: addr, Name: policy.NormalizeName(set["name"]), Pod: pod})
	return nil
}

// learntBy is what the node's own pods were told.
func learntBy(np policy.NodePolicy, told []Learnt) []policy.Learnt {
	var out []policy.Learnt
	for _, l := range told {
		i := slices.IndexFunc(np.Endpoints, func(ep policy.EndpointPolicy) bool { return ep.Key == l.Pod })
		if i >= 0 && np.Endpoints[i].Egress != "" {
			out = append(out, policy.Learnt{Addr: l.Addr, Names: []string{l.Name}, Tables: []policy.TableID{np.Endpoints[i].Egress}})
		}
	}
	return out
}
