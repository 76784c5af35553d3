package enforcer

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/policy"
)

func (e *Enforcer) know(np policy.NodePolicy) {
	if e.config.Flows != nil {
		e.config.Flows.Know(np)
	}
}

func (e *Enforcer) flow(ev policy.Event) {
	if e.config.Flows == nil {
		return
	}
	var refs []policy.Ref
	if ev.Rule == (policy.RuleID{}) && ev.Verdict != policy.Forwarded {
		refs = e.responsible(ev.Direction, ev.Src.Addr(), ev.Dst.Addr())
	}
	e.config.Flows.Add(ev, refs)
}

// eventOf is what the BPF programs saw with the rule's name instead of its number.
func (e *Enforcer) eventOf(p bpf.Event) policy.Event {
	ev := policy.Event{
		Time: e.wallTime(p.Time), Source: policy.SourceBPF, Direction: p.Direction, Verdict: p.Verdict,
		Rule: e.force.rules[p.Rule], Src: p.Src, Dst: p.Dst, Protocol: p.Protocol, DropReason: p.Reason,
	}
	if p.Direction == policy.Egress {
		ev.DstID = p.Identity
	} else {
		ev.SrcID = p.Identity
	}
	return ev
}

// wallTime is when it was so long after the machine's start.
func (e *Enforcer) wallTime(sinceStart time.Duration) time.Time {
	now := e.config.Now()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return now
	}
	age := time.Duration(t.Nano()) - sinceStart
	if sinceStart == 0 || age < 0 {
		return now
	}
	return now.Add(-age)
}
