package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"github.com/septum-dev/septum/policy"
)

// Event is a verdict on a new connection of a policed direction, or a packet's drop.
type Event struct {
	// Time is since the machine's start (CLOCK_MONOTONIC).
	Time time.Duration
	// Endpoint is the number of the pod whose policy judged; Ifindex its host interface.
	Endpoint uint32
	Ifindex  int
	// Direction is seen from that pod.
	Direction policy.Direction
	Verdict   policy.Verdict
	// Reason is "" unless a packet was dropped, or would have been but for audit; see [Reasons].
	// With the verdict Forwarded it says why the proxy could not judge the connection.
	Reason string
	// Rule is the number of the rule that decided; 0 if none did.
	Rule uint32
	// Class is the port of the class's listener for a Redirected verdict.
	Class uint16
	// Identity is the peer's; 0 where it was not looked up.
	Identity policy.Identity
	Protocol policy.Protocol
	// Src and Dst are the connection's client and server. For ICMP, Dst's port is the type
	// in its high byte.
	Src, Dst netip.AddrPort
}

// reasons are the words for enum reason.
func reasons() [septumReasonREASON_MAX]string {
	return [...]string{
		septumReasonREASON_NONE:         "",
		septumReasonREASON_POLICY:       "policy",
		septumReasonREASON_NO_ENDPOINT:  "no-endpoint",
		septumReasonREASON_SPOOFED:      "spoofed",
		septumReasonREASON_FOREIGN:      "foreign",
		septumReasonREASON_MALFORMED:    "malformed",
		septumReasonREASON_ETHERTYPE:    "ethertype",
		septumReasonREASON_FRAGMENT:     "fragment",
		septumReasonREASON_MIDSTREAM:    "midstream",
		septumReasonREASON_RECLASSED:    "reclassed",
		septumReasonREASON_CUT:          "cut",
		septumReasonREASON_NO_PROXY:     "no-proxy",
		septumReasonREASON_NO_LISTENER:  "no-listener",
		septumReasonREASON_UNSUPPORTED:  "unsupported",
		septumReasonREASON_PROXY_FRAME:  "proxy-frame",
		septumReasonREASON_EVENT_LOST:   LostEvents,
		septumReasonREASON_CLIENT_LIMIT: "client-limit",
		septumReasonREASON_CLASS_LIMIT:  "class-limit",
	}
}

// LostEvents is the key, among the drops of [Datapath.Counters], of the events that found no room.
const LostEvents = "event-lost"

// Reasons returns the words that an Event's Reason and the drops of [Datapath.Counters] may have.
func Reasons() []string {
	all := reasons()
	return all[1:]
}

// Events calls f for every event until ctx ends, and returns then, with nil. Only one call
// may run at a time. Events of the time before wait in the ring, while they have room.
func (d *Datapath) Events(ctx context.Context, f func(Event)) error {
	// A deadline would not end a read that waits already.
	stop := context.AfterFunc(ctx, func() { d.events.Flush() }) // it fails once the reader is closed
	defer stop()
	words := reasons()
	var record ringbuf.Record
	for ctx.Err() == nil {
		if err := d.events.ReadInto(&record); err != nil {
			if ctx.Err() != nil || errors.Is(err, ringbuf.ErrClosed) {
				return nil
			}
			if errors.Is(err, ringbuf.ErrFlushed) {
				continue // the end of an earlier call's context
			}
			return fmt.Errorf("read events: %w", err)
		}
		e, err := decodeEvent(record.RawSample, words[:])
		if err != nil {
			return err
		}
		f(e)
	}
	return nil
}

func decodeEvent(sample []byte, words []string) (Event, error) {
	var e septumEvent
	if _, err := binary.Decode(sample, binary.NativeEndian, &e); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	out := Event{
		Time:      time.Duration(e.Time),
		Endpoint:  e.Endpoint,
		Ifindex:   int(e.Ifindex),
		Direction: policy.Direction(e.Direction),
		Verdict:   policy.Verdict(e.Verdict),
		Rule:      e.Rule,
		Identity:  policy.Identity(e.Identity),
		Protocol:  policy.Protocol(e.Protocol),
		Src:       netip.AddrPortFrom(addrOfKey(e.Src), hostOrder(e.SrcPort)),
		Dst:       netip.AddrPortFrom(addrOfKey(e.Dst), hostOrder(e.DstPort)),
	}
	if out.Verdict == policy.Redirected {
		out.Class = e.ClassPort
	}
	if int(e.Reason) < len(words) {
		out.Reason = words[e.Reason]
	}
	return out, nil
}

func hostOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}
