package flow

import (
	"net/netip"
	"slices"

	"github.com/septum-dev/septum/policy"
)

// Bounds of what is remembered of answers of DNS servers.
const (
	maxNamed = 8192
	maxNames = 4
)

// names are what clients were told addresses are called: an address means to a client the
// names that it asked for, newest last. It belongs to the goroutine that adds.
type names struct {
	known map[named][]string
	// order is that in which known came; the oldest goes first.
	order []named
	next  int
}

type named struct{ client, addr netip.Addr }

// learn takes what an answer that reached its client says.
func (n *names) learn(e policy.Event) {
	if e.DNS == nil || e.Verdict == policy.Denied {
		return
	}
	for _, addr := range e.DNS.Addrs {
		n.add(named{e.Src.Addr().Unmap(), addr.Unmap()}, clean(e.DNS.Name))
	}
}

func (n *names) add(key named, name string) {
	list, there := n.known[key]
	if slices.Contains(list, name) {
		return
	}
	if !there {
		if n.known == nil {
			n.known = map[named][]string{}
		}
		if len(n.order) < maxNamed {
			n.order = append(n.order, key)
		} else {
			delete(n.known, n.order[n.next])
			n.order[n.next], n.next = key, (n.next+1)%maxNamed
		}
	}
	// Flows share the list: it is never changed, but made anew.
	n.known[key] = append(slices.Clone(list[max(0, len(list)-maxNames+1):]), name)
}

// of are the names of the event's server.
func (n *names) of(e policy.Event) []string {
	return n.known[named{e.Src.Addr().Unmap(), e.Dst.Addr().Unmap()}]
}
