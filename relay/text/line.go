package text

import (
	"fmt"
	"strings"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func stampOf(t *timestamppb.Timestamp) string {
	if !t.IsValid() {
		return "N/A"
	}
	return t.AsTime().Format(time.StampMilli)
}

// line is one of the compact format.
func (p *Printer) line(res *observerpb.GetFlowsResponse) string {
	if lost := res.GetLostEvents(); lost != nil {
		return fmt.Sprintf("%s EVENTS LOST: %s %s", stampOf(res.GetTime()), lost.GetSource(), loss(lost, ""))
	}
	f := res.GetFlow()
	node := ""
	if p.config.Nodes {
		node = " [" + Clean(f.GetNodeName()) + "]"
	}
	src := p.host(source(f)) + " " + p.colour.magenta(identity(f.GetSource()))
	dst := p.host(destination(f)) + " " + p.colour.magenta(identity(f.GetDestination()))
	arrow := "->"
	if f.GetIsReply() == nil {
		arrow = "<>" // the direction is not known
	} else if f.GetIsReply().GetValue() {
		src, dst, arrow = dst, src, "<-"
	}
	//nolint:staticcheck // the text is nowhere else
	return fmt.Sprintf("%s%s: %s %s %s %s %s (%s)", stampOf(f.GetTime()), node, src, arrow, dst, Kind(f), p.verdict(f), Clean(f.GetSummary()))
}

// row is one of the table; the first has the columns' names before it.
func (p *Printer) row(res *observerpb.GetFlowsResponse) error {
	var columns []string
	add := func(node string, rest ...string) {
		columns = []string{stampOf(res.GetTime())}
		if p.config.Nodes {
			columns = append(columns, node)
		}
		columns = append(columns, rest...)
	}
	if !p.begun {
		p.begun = true
		head := []string{"TIMESTAMP"}
		if p.config.Nodes {
			head = append(head, "NODE")
		}
		head = append(head, "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY")
		if _, err := fmt.Fprintln(p.out, strings.Join(head, "\t")); err != nil {
			return err
		}
	}
	if lost := res.GetLostEvents(); lost != nil {
		node := res.GetNodeName()
		if node == "" {
			node = "-"
		}
		add(Clean(node), lost.GetSource().String(), "-", "EVENTS LOST", "-", loss(lost, "- "))
	} else {
		f := res.GetFlow()
		//nolint:staticcheck // the text is nowhere else
		add(Clean(f.GetNodeName()), p.host(source(f)), p.host(destination(f)), Kind(f), p.verdict(f), Clean(f.GetSummary()))
	}
	_, err := fmt.Fprintln(p.out, strings.Join(columns, "\t"))
	return err
}

func loss(lost *flowpb.LostEvent, between string) string {
	out := fmt.Sprintf("CPU(%d) %s%d", lost.GetCpu().GetValue(), between, lost.GetNumEventsLost())
	if first, last := lost.GetFirst(), lost.GetLast(); first != nil && last != nil {
		out += fmt.Sprintf(" (first: %s, last: %s)", stampOf(first), stampOf(last))
	}
	return out
}
