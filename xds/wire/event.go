package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// Event returns a verdict that the proxy gave.
func Event(e policy.Event) *septumpb.ProxyEvent {
	out := &septumpb.ProxyEvent{
		Time: e.Time.UnixNano(), Direction: uint32(e.Direction), Verdict: uint32(e.Verdict),
		Source: e.Src.String(), Destination: e.Dst.String(), Protocol: uint32(e.Protocol), Reason: e.DropReason,
	}
	if e.Rule != (policy.RuleID{}) {
		out.Rule = Rule(e.Rule)
	}
	if k := e.Kafka; k != nil {
		out.Kafka = &septumpb.KafkaEvent{
			Key: int32(k.Key), Version: int32(k.Version), Correlation: k.Correlation,
			// A client's words may be any bytes; the wire has text alone.
			ClientId: strings.ToValidUTF8(k.ClientID, "\ufffd"), Topic: strings.ToValidUTF8(k.Topic, "\ufffd"), Error: int32(k.Error),
		}
	}
	if e.DNS != nil {
		out.Dns = dnsEvent(e.DNS)
	}
	return out
}

// ReadEvent is the way back.
func ReadEvent(in *septumpb.ProxyEvent) (policy.Event, error) {
	out := policy.Event{
		Time: time.Unix(0, in.GetTime()), Source: policy.SourceProxy, Direction: policy.Direction(in.GetDirection()),
		Verdict: policy.Verdict(in.GetVerdict()), Protocol: policy.Protocol(in.GetProtocol()), DropReason: in.GetReason(),
	}
	var errs [2]error
	out.Src, errs[0] = netip.ParseAddrPort(in.GetSource())
	out.Dst, errs[1] = netip.ParseAddrPort(in.GetDestination())
	err := errors.Join(errs[0], errs[1], atMost("direction", uint64(in.GetDirection()), uint64(policy.Egress)),
		atMost("verdict", uint64(in.GetVerdict()), uint64(policy.Audited)), atMost("protocol", uint64(in.GetProtocol()), 255), Text("reason", in.GetReason()))
	if err != nil {
		return out, fmt.Errorf("event: %w", err)
	}
	if in.GetRule() != nil {
		if out.Rule, err = ReadRule(in.GetRule()); err != nil {
			return out, fmt.Errorf("event's rule: %w", err)
		}
	}
	if k := in.GetKafka(); k != nil {
		out.Kafka = &policy.KafkaEvent{
			Key: policy.KafkaKey(int16(k.GetKey())), Version: int16(k.GetVersion()), Correlation: k.GetCorrelation(),
			ClientID: k.GetClientId(), Topic: k.GetTopic(), Error: int16(k.GetError()),
		}
		if err := errors.Join(Text("client_id", k.GetClientId()), Text("topic", k.GetTopic())); err != nil {
			return out, fmt.Errorf("event's request: %w", err)
		}
	}
	if in.GetDns() != nil {
		if out.DNS, err = readDNSEvent(in.GetDns()); err != nil {
			return out, fmt.Errorf("event's question: %w", err)
		}
	}
	return out, nil
}
