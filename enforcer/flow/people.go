package flow

import (
	"net/netip"
	"slices"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"

	"github.com/septum-dev/septum/policy"
)

// people say who is behind an address.
type people struct {
	single map[netip.Addr]policy.Address
	// wider are the other prefixes, the longest first.
	wider  []policy.Address
	labels map[policy.Identity]labels
}

// labels are an identity's, as a flow has them.
type labels struct {
	list               []string
	namespace, cluster string
}

func newPeople(np policy.NodePolicy) people {
	p := people{single: make(map[netip.Addr]policy.Address, len(np.Addresses)), labels: make(map[policy.Identity]labels, len(np.Identities))}
	for _, a := range np.Addresses {
		if a.Prefix.IsSingleIP() {
			p.single[a.Prefix.Addr()] = a
			continue
		}
		p.wider = append(p.wider, a)
	}
	slices.SortStableFunc(p.wider, func(a, b policy.Address) int { return b.Prefix.Bits() - a.Prefix.Bits() })
	for _, i := range np.Identities {
		p.labels[i.Identity] = labelsOf(i.Labels)
	}
	return p
}

func labelsOf(l policy.Labels) labels {
	out := labels{namespace: clean(l[policy.LabelNamespace]), cluster: clean(l[policy.LabelCluster])}
	for key, value := range l {
		text := key
		if value != "" || !strings.HasPrefix(key, policy.LabelReservedPrefix) {
			text += "=" + value
		}
		out.list = append(out.list, clean(text))
	}
	slices.Sort(out.list)
	return out
}

// at is who is behind an address: the longest prefix decides, and what has none is the world.
func (p *people) at(addr netip.Addr) policy.Address {
	addr = addr.Unmap().WithZone("")
	if a, ok := p.single[addr]; ok {
		return a
	}
	for _, a := range p.wider {
		if a.Prefix.Contains(addr) {
			return a
		}
	}
	return policy.Address{Identity: policy.IdentityWorld}
}

// endpoint is one end of a flow. The data path's identity, where it has said one, is what
// was judged, and goes before what the address says now.
func (p *people) endpoint(addr netip.Addr, judged policy.Identity) *flowpb.Endpoint {
	a := p.at(addr)
	if judged != policy.IdentityAny {
		a.Identity = judged
	}
	l := p.labels[a.Identity]
	e := &flowpb.Endpoint{
		Identity: uint32(a.Identity), Labels: l.list, ClusterName: l.cluster,
		Namespace: clean(a.Namespace), PodName: clean(a.Pod),
	}
	if a.Workload != "" {
		e.Workloads = []*flowpb.Workload{{Name: clean(a.Workload)}}
	}
	return e
}

// service is whose virtual address it is; nil if it is none's.
func (p *people) service(addr netip.Addr) *flowpb.Service {
	namespace, name, ok := strings.Cut(p.at(addr).Service, "/")
	if !ok {
		return nil
	}
	return &flowpb.Service{Namespace: clean(namespace), Name: clean(name)}
}
