package flow

import (
	flowpb "github.com/cilium/cilium/api/v1/flow"

	"github.com/septum-dev/septum/policy"
)

// part is one of an event's flows.
type part uint8

// The parts.
const (
	partVerdict  part = 0
	partDrop     part = 1
	partRequest  part = 2
	partResponse part = 3
)

// flow makes the part's flow.
func (p part) flow(c converter) *flowpb.Flow {
	switch p {
	case partDrop:
		return c.drop()
	case partRequest:
		if c.event.Kafka != nil {
			return c.kafka()
		}
		return c.request()
	case partResponse:
		return c.response()
	case partVerdict:
	}
	return c.verdict()
}

// names are the type, subtype and protocol by which Hubble counts the part's flow.
func (p part) names(e policy.Event) (kind, subtype, protocol string) {
	switch p {
	case partRequest, partResponse:
		protocol := protocolOf(e)
		return "L7", protocol, protocol
	case partDrop:
		return "Drop", dropReason(e.DropReason).String(), protocolName(e.Protocol)
	case partVerdict:
	}
	return "PolicyVerdict", "", protocolName(e.Protocol)
}

// protocolOf is the name by which Hubble counts what the event is about.
func protocolOf(e policy.Event) string {
	switch {
	case e.HTTP != nil:
		return "HTTP"
	case e.DNS != nil:
		return "DNS"
	case e.Kafka != nil:
		return "Kafka"
	}
	return protocolName(e.Protocol)
}

// verdict is the verdict of the part's flow: a response is never judged.
func (p part) verdict(e policy.Event) flowpb.Verdict {
	if p == partResponse {
		return flowpb.Verdict_FORWARDED
	}
	return verdictOf(e.Verdict)
}

// parts are, of a request, the request, its response if it went on, and a policy verdict if
// it was refused; of a connection the policy verdict, and the drop.
func (c converter) parts() []part {
	e := c.event
	if e.Kafka != nil {
		// The server's answer is passed on unread: there is no flow of it.
		if e.Verdict == policy.Denied || e.Verdict == policy.Audited {
			return []part{partVerdict, partRequest}
		}
		return []part{partRequest}
	}
	answered := e.HTTP != nil && e.HTTP.Code > 0
	if e.HTTP != nil && e.HTTP.Stage == policy.HTTPEnded {
		if !answered || e.Verdict == policy.Denied {
			return nil
		}
		return []part{partResponse}
	}
	answered = answered && e.HTTP.Stage == policy.HTTPWhole
	switch {
	case e.DNS != nil:
		return c.dnsParts()
	case e.HTTP != nil && e.Verdict == policy.Denied:
		return []part{partVerdict, partRequest}
	case e.HTTP != nil && e.Verdict == policy.Audited && answered:
		return []part{partVerdict, partRequest, partResponse}
	case e.HTTP != nil && e.Verdict == policy.Audited:
		return []part{partVerdict, partRequest}
	case answered:
		return []part{partRequest, partResponse}
	case e.HTTP != nil:
		return []part{partRequest}
	case e.Verdict == policy.Denied && (byPolicy(e.DropReason) || e.TLS != nil):
		return []part{partVerdict, partDrop}
	case e.Verdict == policy.Denied:
		return []part{partDrop}
	}
	return []part{partVerdict}
}
