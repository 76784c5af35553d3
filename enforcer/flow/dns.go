package flow

import (
	"strconv"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/policy"
)

// dnsParts: a question that was refused has no answer of a server's.
func (c converter) dnsParts() []part {
	if c.event.Verdict == policy.Forwarded {
		return []part{partRequest, partResponse}
	}
	if c.event.Verdict == policy.Denied {
		return []part{partVerdict, partRequest}
	}
	return []part{partVerdict, partRequest, partResponse}
}

// dnsFlow is the flow of a question, or of its answer.
func (c converter) dnsFlow(answer bool) *flowpb.Flow {
	d := c.event.DNS
	f := c.base()
	f.Type, f.EventType = flowpb.FlowType_L7, &flowpb.CiliumEventType{Type: typeL7}
	record := &flowpb.DNS{Query: clean(d.Name) + ".", Qtypes: []string{typeName(d.Type)}, ObservationSource: "proxy"}
	f.L7 = &flowpb.Layer7{Type: flowpb.L7FlowType_REQUEST, Record: &flowpb.Layer7_Dns{Dns: record}}
	f.Summary = "DNS Query " + record.GetQuery() + " " + record.GetQtypes()[0] //nolint:staticcheck // the CLI prints nothing else
	if !answer {
		return f
	}
	f.Verdict, f.DropReasonDesc = flowpb.Verdict_FORWARDED, flowpb.DropReason_DROP_REASON_UNKNOWN
	c.turn(f, d.Latency)
	f.L7.Type, f.L7.LatencyNs = flowpb.L7FlowType_RESPONSE, uint64(max(d.Latency, 0))
	record.Rcode, record.Ttl = uint32(d.Code), d.TTL
	for _, a := range d.Addrs {
		record.Ips = append(record.Ips, a.String())
	}
	for _, a := range d.Aliases {
		record.Cnames = append(record.Cnames, clean(a)+".")
	}
	f.Summary = "DNS Answer " + strings.Join(record.GetIps(), ",") + " (" + codeName(d.Code) + ") " + record.GetQuery() //nolint:staticcheck // the CLI prints nothing else
	return f
}

// typeName is "AAAA", or the number of a type that has no name here.
func typeName(t uint16) string {
	name := dnsmessage.Type(t).String()
	if short, ok := strings.CutPrefix(name, "Type"); ok {
		return short
	}
	if t == 65 {
		return "HTTPS"
	}
	return "TYPE" + strconv.Itoa(int(t))
}

func codeName(c uint16) string {
	switch c {
	case 0:
		return "NOERROR"
	case 2:
		return "SERVFAIL"
	case 3:
		return "NXDOMAIN"
	case 5:
		return "REFUSED"
	}
	return "code " + strconv.Itoa(int(c))
}
