package enforcer

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/policy"
)

// seen keeps what a Flows is told.
type seen struct {
	events []policy.Event
	refs   [][]policy.Ref
}

func (s *seen) Know(policy.NodePolicy) {}

func (s *seen) Add(e policy.Event, refs []policy.Ref) {
	s.events, s.refs = append(s.events, e), append(s.refs, refs)
}

func TestFlowsAreTold(t *testing.T) {
	var mono unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	client, server := netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("10.0.0.2:80")
	s := &seen{}
	e := &Enforcer{config: Config{Flows: s, Now: func() time.Time { return now }}}
	e.force.rules = map[uint32]policy.RuleID{7: rule("a")}
	e.force.responsible = map[tableAt][]policy.Ref{
		{server.Addr(), policy.Ingress}: {ref("server")}, {client.Addr(), policy.Egress}: {ref("client")},
	}
	for _, p := range []bpf.Event{
		{Time: time.Duration(mono.Nano()) - time.Minute, Verdict: policy.Forwarded, Rule: 7, Identity: 300, Src: client, Dst: server, Protocol: policy.ProtocolTCP},
		{Verdict: policy.Denied, Reason: "policy", Identity: 300, Src: client, Dst: server},
		{Verdict: policy.Denied, Reason: "policy", Direction: policy.Egress, Identity: 301, Src: client, Dst: server},
	} {
		e.flow(e.eventOf(p))
	}
	if want := [][]policy.Ref{nil, {ref("server")}, {ref("client")}}; !reflect.DeepEqual(s.refs, want) {
		t.Errorf("the policies are %v and should be %v", s.refs, want)
	}
	first, egress := s.events[0], s.events[2]
	if first.Rule != rule("a") || first.SrcID != 300 || first.DstID != 0 || first.Src != client || first.Protocol != policy.ProtocolTCP {
		t.Errorf("the first event is %+v", first)
	}
	if age := now.Sub(first.Time); age < 59*time.Second || age > 70*time.Second {
		t.Errorf("the first event is %s old, and should be a minute", age)
	}
	if egress.DstID != 301 || egress.SrcID != 0 || egress.DropReason != "policy" || !egress.Time.Equal(now) {
		t.Errorf("the event of egress is %+v", egress)
	}
	e.config.Flows = nil
	e.flow(policy.Event{}) // nobody wants it
	e.know(policy.NodePolicy{})
}
