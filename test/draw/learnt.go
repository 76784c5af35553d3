package draw

import (
	"net/netip"

	"github.com/septum-dev/septum/policy"
)

// Learnt are addresses that were learnt for names on every node. Those inside of the cluster
// are not to be.
func Learnt() []policy.Learnt {
	var out []policy.Learnt
	for _, l := range []struct {
		addr  string
		names []string
	}{
		{"203.0.113.7", []string{"a.example"}}, {"203.0.113.99", []string{"b.example", "c.other"}},
		{"8.8.8.8", []string{"b.example", "c.example"}}, {"2001:db8::1", []string{"a.b.example", "c.example"}},
		{"172.18.0.1", []string{"a.example"}}, {"172.18.0.2", []string{"a.example"}}, {"10.96.0.1", []string{"a.example"}},
		{"10.1.0.200", []string{"a.example"}}, {"10.1.0.10", []string{"a.example"}}, {"192.0.2.1", []string{"a.example"}},
	} {
		out = append(out, policy.Learnt{Addr: netip.MustParseAddr(l.addr), Names: l.names})
	}
	return out
}
