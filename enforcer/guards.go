package enforcer

import (
	"slices"

	"github.com/septum-dev/septum/policy"
)

// guards are the interfaces of pods that no policy selects, and that could send to those that
// one does with another pod's address: those on a bridge, while anything that is sent to a pod
// of this node is judged by who sent it. Elsewhere the node sees by which interface a packet came.
func (e *Enforcer) guards() []int {
	judged := func(ep policy.EndpointPolicy) bool { return ep.Ingress != "" && !ep.HostNetwork }
	if !slices.ContainsFunc(e.pods.local, judged) {
		return nil
	}
	var out []int
	for _, ep := range e.pods.local {
		if ep.Policed() || ep.HostNetwork || len(ep.Addrs) == 0 {
			continue
		}
		if l, err := e.config.Links.Find(ep.Addrs); err == nil && l.Bridged {
			out = append(out, l.Ifindex)
		}
	}
	slices.Sort(out)
	return out
}
