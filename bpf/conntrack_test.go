package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/septum-dev/septum/policy"
	"golang.org/x/sys/unix"
)

// change applies another state before a step.
func change(f func(*State)) func(*runner) {
	return func(r *runner) {
		r.t.Helper()
		s := testState()
		f(&s)
		r.apply(s)
	}
}

func verdictOf(rule uint32, v policy.Verdict, class uint16) func(*State) {
	return func(s *State) {
		for i := range s.Tables {
			if s.Tables[i].Rule == rule {
				s.Tables[i].Verdict, s.Tables[i].Class = v, class
			}
		}
	}
}

func leaves(class, successor uint16) func(*State) {
	return func(s *State) { s.Successors = append(s.Successors, SuccessorEntry{class, successor}) }
}

func both(one, two func(*State)) func(*State) {
	return func(s *State) { one(s); two(s) }
}

// age makes every connection as old as if nothing had been seen of it for ten minutes.
func age(r *runner) { r.t.Helper(); older(r, 600e9) }

// later makes every connection two seconds older.
func later(r *runner) { r.t.Helper(); older(r, 2e9) }

func older(r *runner, by uint64) {
	r.t.Helper()
	for _, m := range []*ebpf.Map{r.objs.Conns, r.objs.Datagrams} {
		conns, err := readMap[septumConnKey, septumConn](m)
		must(r.t, err)
		for k, c := range conns {
			c.Seen -= by
			must(r.t, m.Put(k, c))
		}
	}
}

func TestConnections(t *testing.T) {
	const server80 = server4 + ":80"
	l4 := func(flags uint8) frame { return tcp(l4Peer+":4000", server80, flags) }
	l4Reply := func(flags uint8) frame { return tcp(server80, l4Peer+":4000", flags) }
	l7 := func(flags uint8) frame { return tcp(l7Peer+":4000", server80, flags) }
	out := func(flags uint8) frame { return tcp(client+":4000", l4Peer+":80", flags) }
	outReply := func(flags uint8) frame { return tcp(l4Peer+":80", client+":4000", flags) }
	// The reverse of a port that nobody may use.
	back := func(flags uint8) frame { return tcp(l4Peer+":443", server4+":5000", flags) }
	begun := []step{toPod("syn", l4(syn), next, ""), fromPod("syn ack", l4Reply(syn|ack), next, "")}
	tests := []struct {
		name  string
		steps []step
	}{
		{"replies need a connection", []step{
			toPod("reply to nothing", back(syn|ack), drop, "policy"),
			fromPod("syn", tcp(server4+":5000", l4Peer+":443", syn), next, ""),
			toPod("reply", back(syn|ack), next, ""),
			toPod("but no syn the other way", back(syn), drop, "policy"),
		}},
		{"an idle open connection stays", append(begun[:2:2],
			toPod("data", l4(ack), next, "").after(age),
			fromPod("reply", l4Reply(ack), next, "").after(age),
		)},
		{"a closed one does not", []step{
			fromPod("syn", tcp(server4+":5000", l4Peer+":443", syn), next, ""),
			toPod("syn ack", back(syn|ack), next, ""),
			fromPod("fin", tcp(server4+":5000", l4Peer+":443", fin|ack), next, ""),
			toPod("half closed", back(ack), next, "").after(age),
			toPod("fin", back(fin|ack), next, ""),
			toPod("late ack", back(ack), next, ""),
			toPod("after its time", back(ack), drop, "policy").after(age),
		}},
		{"a syn begins anew, whatever is left of the old connection", []step{
			toPod("syn", l4(syn), next, ""),
			fromPod("syn ack", l4Reply(syn|ack), next, ""),
			toPod("fin", l4(fin|ack), next, ""),
			fromPod("fin", l4Reply(fin|ack), next, ""),
			toPod("syn, redirected now", l4(syn), redirect, "").after(change(verdictOf(6, policy.Redirected, class))),
			toPod("data", l4(ack), redirect, ""),
			toPod("syn, forwarded again", l4(syn), next, "").after(change(func(*State) {})),
			fromPod("syn ack", l4Reply(syn|ack), next, ""),
		}},
		{"a reset may be forged: the connection lives while it is used", []step{
			fromPod("syn", tcp(server4+":5000", l4Peer+":443", syn), next, ""),
			toPod("syn ack", back(syn|ack), next, ""),
			toPod("reset", back(rst), next, ""),
			toPod("data", back(ack), next, ""),
			toPod("after its time", back(ack), drop, "policy").after(age),
		}},
		{"datagrams' flows run out", []step{
			fromPod("query", udp(client+":4000", outside+":53"), next, ""),
			toPod("answer", udp(outside+":53", client+":4000"), next, ""),
			fromPod("query", udp(server4+":4000", outside+":53"), next, ""),
			toPod("answer", udp(outside+":53", server4+":4000"), next, ""),
			toPod("late answer", udp(outside+":53", server4+":4000"), drop, "policy").after(age),
		}},
		{"a new policy, the same verdict", append(begun[:2:2],
			toPod("data", l4(ack), next, "").after(change(verdictOf(5, policy.Denied, 0))),
			fromPod("reply", l4Reply(ack), next, ""),
		)},
		{"a new policy denies: both sides are reset", append(begun[:2:2],
			toPod("data", l4(ack), drop, "cut").after(change(verdictOf(6, policy.Denied, 0))),
			fromPod("reply", l4Reply(ack), drop, "cut"),
			toPod("data again", l4(ack), redirect, "cut").after(later),
			fromPod("reply again", l4Reply(ack), redirect, "cut"),
			toPod("a reset ends it for its receiver", l4(rst), next, "cut"),
			toPod("but once", l4(rst), drop, "cut"),
			toPod("syn", l4(syn), drop, "policy"),
		)},
		{"a new policy redirects: both sides are reset", append(begun[:2:2],
			fromPod("reply", l4Reply(ack), drop, "cut").after(change(verdictOf(6, policy.Redirected, class))),
			toPod("data", l4(ack), redirect, "cut").after(later),
			toPod("forgotten in time", l4(ack), redirect, "midstream").after(age),
			toPod("a reset goes on", l4(rst), next, ""),
			toPod("syn", l4(syn), redirect, ""),
		)},
		{"a new policy on egress", []step{
			fromPod("syn", out(syn), next, ""),
			toPod("syn ack", outReply(syn|ack), next, ""),
			toPod("reply", outReply(ack), drop, "cut").after(change(verdictOf(12, policy.Denied, 0))),
			fromPod("data", out(ack), redirect, "cut").after(later),
		}},
		{"datagrams that a new policy denies", []step{
			toPod("query", udp(outside+":4000", server4+":53"), next, ""),
			fromPod("answer", udp(server4+":53", outside+":4000"), drop, "cut").after(change(verdictOf(8, policy.Denied, 0))),
		}},
		{"another class", []step{
			toPod("syn", l7(syn), redirect, ""),
			toPod("the same class", l7(ack), redirect, "").after(change(verdictOf(6, policy.Denied, 0))),
			toPod("another", l7(ack), drop, "reclassed").after(change(verdictOf(5, policy.Redirected, class+1))),
			toPod("again", l7(ack), redirect, "cut").after(later),
			toPod("the client's reset is for the proxy", l7(rst), redirect, "cut"),
			toPod("nobody listens for it", l7(syn), redirect, "no-listener"),
		}},
		{"proxied, and allowed without a proxy now", []step{
			toPod("syn", l7(syn), redirect, ""),
			toPod("the proxy has it", l7(ack), redirect, "").after(change(both(verdictOf(5, policy.Forwarded, 0), leaves(class, 0)))),
			toPod("syn", l7(syn), next, ""),
			toPod("data", l7(ack), next, ""),
			fromPod("reply", tcp(server80, l7Peer+":4000", ack), next, ""),
		}},
		{"proxied in a class that lives on, and allowed without it now", []step{
			toPod("syn", l7(syn), redirect, ""),
			toPod("data", l7(ack), drop, "reclassed").after(change(verdictOf(5, policy.Forwarded, 0))),
			toPod("syn", l7(syn), next, ""),
		}},
		{"proxied in a class that another follows", []step{
			toPod("syn", l7(syn), redirect, ""),
			toPod("data", l7(ack), redirect, "").after(change(both(verdictOf(5, policy.Redirected, class+1), leaves(class, class+1)))),
			toPod("what is not the other's", l7(ack), drop, "reclassed").after(change(both(verdictOf(5, policy.Redirected, class+2), leaves(class, class+1)))),
		}},
		{"proxied, and denied now", []step{
			toPod("syn", l7(syn), redirect, ""),
			toPod("data", l7(ack), drop, "cut").after(change(verdictOf(5, policy.Denied, 0))),
			toPod("data", l7(ack), redirect, "cut").after(later),
			toPod("syn", l7(syn), drop, "policy"),
		}},
		{"the address is another pod's now", []step{
			fromPod("syn", tcp(server4+":5000", l4Peer+":443", syn), next, ""),
			toPod("reply", back(syn|ack), next, ""),
			toPod("reply to the old pod", back(ack), drop, "policy").after(change(func(s *State) { s.Endpoints[0].Number = 99 })),
		}},
		{"the peer has another identity now", append(begun[:2:2],
			toPod("data", l4(ack), drop, "cut").after(change(func(s *State) { s.Addresses[2].Identity = 102 })),
		)},
		{"the node's own connection outlives every policy", []step{
			toPod("syn", tcp(node+":4000", server80, syn), next, "").fromHost(),
			fromPod("syn ack", tcp(server80, node+":4000", syn|ack), next, "").after(change(func(s *State) { s.Tables = nil })),
			toPod("data", tcp(node+":4000", server80, ack), next, "").fromHost(),
		}},
		{"no policy yet", []step{
			toPod("syn", l4(syn), drop, "no-endpoint").after(func(r *runner) { r.apply(State{}) }),
			fromPod("syn", out(syn), drop, "no-endpoint"),
		}},
		{"mid-stream of an unknown connection that is allowed", []step{
			toPod("data", l4(ack), next, ""),
			fromPod("reply", l4Reply(ack), next, ""),
			toPod("data, denied", tcp(denyPeer+":4000", server80, ack), drop, "policy"),
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRunner(t, pods()...)
			r.apply(testState())
			must(t, r.SetHostAddrs([]netip.Addr{addr(node)}))
			r.steps(test.steps)
		})
	}
}

// The proxy's own connection has its replies steered back, and nobody else may speak on it.
func TestUpstreamLeg(t *testing.T) {
	r := newRunner(t, pods()...)
	r.apply(testState())
	f := tcp(l7Peer+":12000", server4+":80", syn)
	data := f.bytes()
	copy(data[6:], []byte{2, 0x73, 0x65, 0x70, 0x74, 2})
	opts := ebpf.RunOptions{Data: data, DataOut: make([]byte, len(data))}
	ret, err := r.objs.ProxyHost.Run(&opts)
	must(t, err)
	if got := actionOf(t, ret); got != redirect {
		t.Fatalf("the proxy's frame: %s", got)
	}
	if want := []byte{2, 0, 0, 0, 0, 8}; !bytes.Equal(opts.DataOut[:6], want) {
		t.Errorf("the frame goes to %x, want %x", opts.DataOut[:6], want)
	}
	r.steps([]step{
		fromPod("the server's reply", tcp(server4+":80", l7Peer+":12000", syn|ack), redirect, ""),
		toPod("the client beside the proxy", tcp(l7Peer+":12000", server4+":80", ack), drop, "midstream"),
		toPod("the client's own connection from that port", tcp(l7Peer+":12000", server4+":80", syn), redirect, ""),
		fromPod("the server's reply to the proxy still", tcp(server4+":80", l7Peer+":12000", ack), redirect, ""),
	})
	for name, change := range map[string]func([]byte){
		"no leg":              func(b []byte) { b[11] = 0 },
		"another leg":         func(b []byte) { b[11] = 5 },
		"no pod of ours":      func(b []byte) { b[14+19] = 99 },
		"neither TCP nor UDP": func(b []byte) { b[14+9] = unix.IPPROTO_SCTP },
	} {
		frame := bytes.Clone(data)
		change(frame)
		opts := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame))}
		ret, err := r.objs.ProxyHost.Run(&opts)
		must(t, err)
		if got := actionOf(t, ret); got != drop {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A frame in the pod's name goes to where the peer's last one came from, and in the peer's name
// has what that had.
func TestNeighbours(t *testing.T) {
	gateway, pod, other := []byte{2, 0, 0, 0, 0, 9}, []byte{2, 0, 0, 0, 0, 8}, []byte{2, 0, 0, 0, 0, 2}
	reply := tcp(server4+":80", l7Peer+":4000", syn|ack)
	upstream := tcp(l7Peer+":12000", server4+":80", syn)
	tests := []struct {
		name     string
		leg      byte
		f        frame
		dst, src []byte
		seen     bool
	}{
		{"as the pod, nothing seen", 1, reply, gateway, pod, false},
		{"as the pod", 1, reply, other, pod, true},
		{"to the pod, nothing seen", 2, upstream, pod, gateway, false},
		{"to the pod", 2, upstream, pod, other, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRunner(t, pods()...)
			r.apply(testState())
			if test.seen {
				r.steps([]step{toPod("syn", tcp(l7Peer+":4000", server4+":80", syn), redirect, "")})
			}
			data := test.f.bytes()
			data[11] = test.leg
			opts := ebpf.RunOptions{Data: data, DataOut: make([]byte, len(data))}
			ret, err := r.objs.ProxyHost.Run(&opts)
			must(t, err)
			if got := actionOf(t, ret); got != redirect {
				t.Fatalf("got %s", got)
			}
			if !bytes.Equal(opts.DataOut[:6], test.dst) || !bytes.Equal(opts.DataOut[6:12], test.src) {
				t.Errorf("from %x to %x, want from %x to %x", opts.DataOut[6:12], opts.DataOut[:6], test.src, test.dst)
			}
		})
	}
}

// A reset must be right to the last bit: what is wrong is ignored by its receiver.
func TestResetFrame(t *testing.T) {
	for _, test := range []struct {
		name       string
		f          frame
		seq, ack   uint32
		wantFlags  uint8
		wantSeq    uint32
		wantAckSeq uint32
	}{
		{"IPv4 syn", tcp(l7Peer+":4000", server4+":80", syn), 0xfffffff0, 0, rst | ack, 0, 0xfffffff1},
		{"IPv6 syn", tcp("["+l7Peer6+"]:4000", "["+server6+"]:80", syn), 100, 0, rst | ack, 0, 101},
		{"IPv4 options", tcp(l7Peer+":4000", server4+":80", syn).with(func(f *frame) { f.options = make([]byte, 8) }), 7, 0, rst | ack, 0, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRunner(t, pods()...)
			s := testState()
			verdictOf(5, policy.Redirected, class+1)(&s) // nobody listens for it
			r.apply(s)
			data := test.f.bytes()
			l4 := len(data) - 20
			binary.BigEndian.PutUint32(data[l4+4:], test.seq)
			binary.BigEndian.PutUint32(data[l4+8:], test.ack)
			got, out, reason := r.run(policy.Ingress, data, skbContext{IngressIfindex: 77})
			if got != redirect || reason != "no-listener" {
				t.Fatalf("got %s %q", got, reason)
			}
			if !bytes.Equal(out[:6], data[6:12]) || !bytes.Equal(out[6:12], data[:6]) {
				t.Errorf("hardware addresses %x", out[:12])
			}
			ipLen := 20
			if test.f.src.Addr().Is6() {
				ipLen = 40
			}
			if len(out) != 14+ipLen+20 {
				t.Fatalf("%d bytes", len(out))
			}
			segment := out[14+ipLen:]
			if p := binary.BigEndian.Uint16(segment); p != 80 {
				t.Errorf("from port %d", p)
			}
			if segment[13] != test.wantFlags || binary.BigEndian.Uint32(segment[4:]) != test.wantSeq || binary.BigEndian.Uint32(segment[8:]) != test.wantAckSeq {
				t.Errorf("flags %x, seq %x, ack %x", segment[13], segment[4:8], segment[8:12])
			}
			addrs := out[14+12 : 14+20]
			if ipLen == 40 {
				addrs = out[14+8 : 14+40]
			} else if sum := checksum(out[14 : 14+20]); sum != 0 {
				t.Errorf("the header's checksum is off by %x", sum)
			}
			if sum := checksum(addrs, []byte{0, unix.IPPROTO_TCP, 0, 20}, segment); sum != 0 {
				t.Errorf("the segment's checksum is off by %x", sum)
			}
		})
	}
}

func checksum(parts ...[]byte) uint16 {
	sum := uint32(0)
	for _, p := range parts {
		for ; len(p) > 1; p = p[2:] {
			sum += uint32(binary.BigEndian.Uint16(p))
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
