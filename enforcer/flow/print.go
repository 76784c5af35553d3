package flow

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
)

// stamp is how the Hubble CLI writes times.
const stamp = "Jan _2 15:04:05.000"

// PrintJSON writes one line as "hubble observe -o jsonpb" does.
func PrintJSON(w io.Writer, res *observerpb.GetFlowsResponse) error {
	if err := json.NewEncoder(w).Encode(res); err != nil {
		return fmt.Errorf("print flow: %w", err)
	}
	return nil
}

// PrintCompact writes one line as "hubble observe -o compact --print-policy-names" does, or
// how many flows were lost.
func PrintCompact(w io.Writer, res *observerpb.GetFlowsResponse) error {
	line := ""
	switch f := res.GetFlow(); {
	case f != nil:
		line = compact(f)
	case res.GetLostEvents() != nil:
		line = fmt.Sprintf("EVENTS LOST: %s %d", res.GetLostEvents().GetSource(), res.GetLostEvents().GetNumEventsLost())
	default:
		return nil
	}
	if _, err := fmt.Fprintln(w, line); err != nil {
		return fmt.Errorf("print flow: %w", err)
	}
	return nil
}

func compact(f *flowpb.Flow) string {
	srcPort, dstPort, ports := portsOf(f)
	src := place(f.GetSource(), f.GetIP().GetSource(), srcPort, ports)
	dst := place(f.GetDestination(), f.GetIP().GetDestination(), dstPort, ports)
	arrow := "->"
	if f.GetIsReply().GetValue() {
		src, dst, arrow = dst, src, "<-"
	}
	//nolint:staticcheck // the text is nowhere else
	return clean(fmt.Sprintf("%s: %s %s %s %s %s (%s)", timeOf(f).Format(stamp), src, arrow, dst, kind(f), verdictText(f), f.GetSummary()))
}

// place is "namespace/pod:port (ID:number)", or the address where there is no pod.
func place(e *flowpb.Endpoint, address string, port uint32, hasPort bool) string {
	text := address
	if e.GetPodName() != "" {
		text = e.GetNamespace() + "/" + e.GetPodName()
		if hasPort {
			text += ":" + strconv.Itoa(int(port))
		}
	} else if hasPort {
		text = net.JoinHostPort(address, strconv.Itoa(int(port)))
	}
	for _, l := range e.GetLabels() {
		if name, ok := strings.CutPrefix(l, "reserved:"); ok {
			return fmt.Sprintf("%s (%s)", text, name)
		}
	}
	return fmt.Sprintf("%s (ID:%d)", text, e.GetIdentity())
}

func kind(f *flowpb.Flow) string {
	if l7 := f.GetL7(); l7 != nil {
		return "http-" + strings.ToLower(l7.GetType().String())
	}
	if f.GetEventType().GetType() == typeVerdict {
		match := "none"
		if f.GetPolicyMatchType() != matchNone {
			match = "L3-L4"
		}
		return fmt.Sprintf("policy-verdict:%s %s", match, f.GetTrafficDirection())
	}
	return strings.ReplaceAll(strings.ToLower(f.GetDropReasonDesc().String()), "_", " ")
}

func verdictText(f *flowpb.Flow) string {
	if f.GetEventType().GetType() != typeVerdict {
		return f.GetVerdict().String()
	}
	text := map[flowpb.Verdict]string{
		flowpb.Verdict_FORWARDED: "ALLOWED", flowpb.Verdict_REDIRECTED: "ALLOWED",
		flowpb.Verdict_DROPPED: "DENIED", flowpb.Verdict_AUDIT: "AUDITED",
	}[f.GetVerdict()]
	var names []string
	for _, list := range [][]*flowpb.Policy{f.GetIngressAllowedBy(), f.GetIngressDeniedBy(), f.GetEgressAllowedBy(), f.GetEgressDeniedBy()} {
		for _, p := range list {
			names = append(names, fmt.Sprintf("%s (%s)", p.GetName(), p.GetKind()))
		}
	}
	if len(names) > 0 {
		text += " BY " + strings.Join(names, ", ")
	}
	return text
}
