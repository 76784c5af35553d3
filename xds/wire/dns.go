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

func dns(rules []policy.DNSRule) []*septumpb.DNSRule {
	var out []*septumpb.DNSRule
	for _, r := range rules {
		out = append(out, &septumpb.DNSRule{Id: Rule(r.ID), Name: string(r.Name)})
	}
	return out
}

func readDNS(in []*septumpb.DNSRule) ([]policy.DNSRule, error) {
	if err := atMost("rules", uint64(len(in)), policy.MaxClassRules); err != nil {
		return nil, err
	}
	var out []policy.DNSRule
	for i, r := range in {
		id, err := ReadRule(r.GetId())
		name, errName := policy.ParsePattern(r.GetName())
		if errName == nil && string(name) != r.GetName() {
			errName = errors.New("the name is not in its plain form")
		}
		if err := errors.Join(err, errName); err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
		out = append(out, policy.DNSRule{ID: id, Name: name})
	}
	return out, nil
}

func dnsEvent(e *policy.DNSEvent) *septumpb.DNSEvent {
	out := &septumpb.DNSEvent{Name: wireName(e.Name), Type: uint32(e.Type), Code: uint32(e.Code), Ttl: e.TTL, Latency: int64(e.Latency)}
	for _, a := range e.Addrs {
		out.Addresses = append(out.Addresses, a.String())
	}
	for _, a := range e.Aliases {
		out.Aliases = append(out.Aliases, wireName(a))
	}
	return out
}

// wireName is a name as text: a client may ask for any bytes.
func wireName(name string) string { return strings.ToValidUTF8(name, "\ufffd") }

func readDNSEvent(in *septumpb.DNSEvent) (*policy.DNSEvent, error) {
	out := &policy.DNSEvent{Name: in.GetName(), Type: uint16(in.GetType()), Code: uint16(in.GetCode()), TTL: in.GetTtl(),
		Latency: time.Duration(in.GetLatency()), Aliases: in.GetAliases()}
	err := errors.Join(Text("name", in.GetName()), atMost("type", uint64(in.GetType()), 65535), atMost("code", uint64(in.GetCode()), 65535),
		atMost("addresses", uint64(len(in.GetAddresses())), maxList), atMost("aliases", uint64(len(in.GetAliases())), maxList))
	if err != nil {
		return nil, err
	}
	for _, s := range in.GetAddresses() {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("addresses: %w", err)
		}
		out.Addrs = append(out.Addrs, a)
	}
	for _, a := range out.Aliases {
		if err := Text("aliases", a); err != nil {
			return nil, err
		}
	}
	return out, nil
}
