package bpf

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/conformance"
	"golang.org/x/sys/unix"
)

// TestConformance runs the truth table through the maps and the programs. A request with a
// layer 7 part is judged as far as layer 4: the oracle says what that is.
func TestConformance(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, addr("10.255.255.255"))
	judged := 0
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			r.t = t
			node := ""
			for i, check := range c.Requests {
				np := c.Node(check.Node)
				if check.Node != node {
					node = check.Node
					r.enforce(np)
				}
				req := check.Request
				req.HTTP = nil
				want := policy.Decide(np, req).Verdict
				if check.Request.HTTP == nil && want != check.Want {
					t.Errorf("%s: the oracle says %d", check.Line, want)
				}
				if got, ok := r.judge(np, req, uint16(40000+i)); ok {
					judged++
					if got != want {
						t.Errorf("%s: got verdict %d, want %d", check.Line, got, want)
					}
				}
			}
		})
	}
	if judged < 200 {
		t.Errorf("only %d requests reached a program", judged)
	}
}

// enforce makes a node's policy that of the maps, with all its pods on one interface.
func (r *runner) enforce(np policy.NodePolicy) {
	r.t.Helper()
	numbers := policy.Numbers{}.Assign(np)
	s := Entries(np, numbers)
	r.apply(s)
	var hosts, pods []netip.Addr
	for _, a := range np.Addresses {
		if a.Node == np.Node && a.Pod == "" && a.Prefix.IsSingleIP() {
			hosts = append(hosts, a.Prefix.Addr())
		}
	}
	if err := r.SetHostAddrs(hosts); err != nil {
		r.t.Fatal(err)
	}
	for _, e := range s.Endpoints {
		pods = append(pods, e.Addr)
	}
	if len(pods) > 0 {
		mac := []byte{2, 0, 0, 0, 0, 9}
		if err := r.writePod(PodLink{Key: "all", Ifindex: lo, PodMAC: mac, HostMAC: mac, Addrs: pods}); err != nil {
			r.t.Fatal(err)
		}
	}
	forget[septumConnKey, septumConn](r.t, r.objs.Conns)
	classes := slices.Collect(maps.Values(numbers.Classes))
	r.listen("127.0.0.1:0", unix.AF_INET, classes...)
	r.listen("[::1]:0", unix.AF_INET6, classes...)
}

// forget empties a map.
func forget[K, V any](t testing.TB, m *ebpf.Map) {
	t.Helper()
	var keys []K
	var k K
	var v V
	for it := m.Iterate(); it.Next(&k, &v); {
		keys = append(keys, k)
	}
	for _, k := range keys {
		if err := m.Delete(k); err != nil {
			t.Fatal(err)
		}
	}
}

// judge sends the first packet of a request, and returns its verdict; false says that nothing
// is attached to the pod.
func (r *runner) judge(np policy.NodePolicy, req policy.Request, port uint16) (policy.Verdict, bool) {
	r.t.Helper()
	enforced := slices.ContainsFunc(Entries(np, policy.Numbers{}).Endpoints, func(e EndpointEntry) bool { return e.Addr == req.Endpoint })
	if !enforced {
		return 0, false
	}
	from, to := req.Peer, req.Endpoint
	if req.Direction == policy.Egress {
		from, to = to, from
	}
	f := frame{src: netip.AddrPortFrom(from, port), dst: netip.AddrPortFrom(to, req.Port), proto: uint8(req.Protocol)}
	switch req.Protocol {
	case policy.ProtocolTCP:
		f.flags = syn
	case policy.ProtocolICMP, policy.ProtocolICMPv6:
		f.icmp = uint8(req.Port >> 8)
	}
	ctx := skbContext{IngressIfindex: 77}
	if req.Direction == policy.Ingress && np.IdentityOf(req.Peer) == policy.IdentityHost {
		ctx.IngressIfindex = 0 // made by the node itself
	}
	// What was refused already has no event of its own.
	forget[septumRefusalKey, septumRefusal](r.t, r.objs.Refusals)
	action, _, _ := r.run(req.Direction, f.bytes(), ctx)
	switch action {
	case drop:
		return policy.Denied, true
	case redirect:
		return policy.Redirected, true
	}
	if e, ok := r.lastEvent(); ok && e.Verdict == policy.Audited {
		return policy.Audited, true
	}
	return policy.Forwarded, true
}

// lastEvent empties the ring, and returns the last event.
func (r *runner) lastEvent() (Event, bool) {
	r.t.Helper()
	words := reasons()
	var last Event
	found := false
	for {
		r.events.SetDeadline(time.Now().Add(-time.Second))
		var record ringbuf.Record
		if err := r.events.ReadInto(&record); err != nil {
			return last, found
		}
		e, err := decodeEvent(record.RawSample, words[:])
		if err != nil {
			r.t.Fatal(err)
		}
		last, found = e, true
	}
}
