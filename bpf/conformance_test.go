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
				req.HTTP, req.TLS, req.DNS, req.Kafka = nil, nil, nil, nil
				want := policy.Decide(np, req).Verdict
				if check.Request.HTTP == nil && check.Request.TLS == nil && check.Request.DNS == nil && check.Request.Kafka == nil && want != check.Want {
					t.Errorf("%s: the oracle says %d", check.Line, want)
				}
				if got, ok := r.judge(np, req, uint16(40000+i)); ok {
					judged++
					if got != want {
						t.Errorf("%s: got verdict %d, want %d", check.Line, got, want)
					}
					if check.HasReply {
						r.reply(np, check, uint16(40000+i))
					}
				}
			}
			if c.After != nil {
				r.change(c)
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
	r.numbers = policy.Numbers{}
	r.install(np)
	forget[septumConnKey, septumConn](r.t, r.objs.Conns)
	forget[septumConnKey, septumConn](r.t, r.objs.Datagrams)
}

// install makes a node's policy that of the maps, and leaves the connections.
func (r *runner) install(np policy.NodePolicy) {
	r.t.Helper()
	r.numbers = r.numbers.Assign(np)
	numbers := r.numbers
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
	return r.packet(np, req, port, syn)
}

// packet sends a packet of the client's with these TCP flags.
func (r *runner) packet(np policy.NodePolicy, req policy.Request, port uint16, flags uint8) (policy.Verdict, bool) {
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
		f.flags = flags
	case policy.ProtocolICMP, policy.ProtocolICMPv6:
		f.icmp = uint8(req.Port >> 8)
	}
	ctx := skbContext{IngressIfindex: 77}
	if req.Direction == policy.Ingress && np.IdentityOf(req.Peer) == policy.IdentityHost {
		ctx.IngressIfindex = 0 // made by the node itself
	}
	// What was refused already has no event of its own.
	forget[septumRefusalKey, septumRefusal](r.t, r.objs.Refusals)
	if req.Unserved {
		r.setProxy(0)
		defer r.setProxy(lo)
	}
	action, _, reason := r.run(req.Direction, f.bytes(), ctx)
	if slices.Contains([]string{"cut", "reclassed", "no-proxy", "no-listener", "midstream"}, reason) && action == redirect {
		return policy.Denied, true // TCP's end is a reset, which goes back instead of the packet
	}
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

// reply sends the server's answer to the first packet of a request.
func (r *runner) reply(np policy.NodePolicy, check conformance.Check, port uint16) {
	r.t.Helper()
	req := check.Request
	server, client := netip.AddrPortFrom(req.Endpoint, req.Port), netip.AddrPortFrom(req.Peer, port)
	if req.Direction == policy.Egress {
		server, client = netip.AddrPortFrom(req.Peer, req.Port), netip.AddrPortFrom(req.Endpoint, port)
	}
	f := frame{src: server, dst: client, proto: uint8(req.Protocol), flags: syn | ack}
	ctx := skbContext{IngressIfindex: 77}
	if got, _, reason := r.run(1-req.Direction, f.bytes(), ctx); (got == next) != (check.Reply == policy.Forwarded) {
		r.t.Errorf("%s: the reply: %s %s", check.Line, got, reason)
	}
}

// change shows what a change of policies does to the connections that are there, and to new ones.
func (r *runner) change(c conformance.Case) {
	r.t.Helper()
	np := c.After.Node(c.After.Requests[0].Node)
	r.install(np)
	for i, check := range c.After.Requests {
		if check.Node != np.Node || c.Requests[0].Node != np.Node {
			r.t.Fatalf("%s: on another node", check.Line)
		}
		req := check.Request
		req.HTTP = nil
		want := policy.Decide(np, req).Verdict
		port, flags := uint16(50000+i), uint8(syn)
		for n, before := range c.Requests {
			if begun, ok := c.Begun(check); ok && begun.Line == before.Line {
				port, flags = uint16(40000+n), ack
			}
		}
		if check.Cut {
			want = policy.Denied
		}
		if got, ok := r.packet(np, req, port, flags); !ok || got != want {
			r.t.Errorf("after the change: %s: got verdict %d, want %d", check.Line, got, want)
		}
	}
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
