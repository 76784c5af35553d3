package enforcer

import (
	"fmt"
	"strings"

	"github.com/septum-dev/septum/bpf"
)

// reasonShut says that a policed pod has interfaces that no policy can be enforced on.
const reasonShut = "InterfaceClosed"

// shutOthers closes the interfaces of policed pods by which the policy could be gone around:
// all that lead out of their namespaces, but the one whose policy is enforced. While a pod is
// not found, what was closed stays so.
func (e *Enforcer) shutOthers(before map[podID]podProblem, lost int) {
	var list []bpf.PodInterface
	for _, ep := range e.pods.wanted {
		if ep.HostNetwork {
			continue
		}
		var names []string
		for _, w := range e.config.Links.Ways(ep.Addrs) {
			list = append(list, bpf.PodInterface{Key: ep.Key, NetNS: w.Path, Inode: w.ID.Ino, Ifindex: w.Ifindex})
			names = append(names, w.String())
		}
		id := idOf(ep)
		if _, other := e.pods.problems[id]; len(names) == 0 || other {
			continue
		}
		problem := podProblem{reasonShut, fmt.Sprintf("no policy can be enforced on %s: nothing passes there", strings.Join(names, ", "))}
		e.pods.problems[id] = problem
		if before[id] != problem {
			e.config.Log.Info("pod's interfaces closed", "endpoint", ep.Key, "message", problem.message)
		}
	}
	e.outcome("InterfacesNotClosed", e.config.Datapath.Shut(list, lost == 0))
}
