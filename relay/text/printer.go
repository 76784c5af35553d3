package text

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	relaypb "github.com/cilium/cilium/api/v1/relay"
)

// The formats, by the CLI's names.
const (
	Compact = "compact"
	Table   = "table"
	JSON    = "json"
)

// Formats are the formats that there are.
func Formats() []string { return []string{Compact, Table, JSON} }

// Config is what a Printer needs.
type Config struct {
	// Out is where flows and losses go, Err where nodes that do not answer are named.
	Out, Err io.Writer
	// Format is one of Formats; Compact if it is empty.
	Format string
	// Colour is for terminals; it is not used in a table and in JSON.
	Colour bool
	// Nodes prints the name of the node that saw the flow.
	Nodes bool
	// Policies prints the policies beside a verdict.
	Policies bool
}

// Printer writes responses one by one.
type Printer struct {
	config Config
	out    io.Writer
	table  *tabwriter.Writer
	begun  bool
	colour colours
}

// New returns a Printer that has written nothing.
func New(c Config) (*Printer, error) {
	p := &Printer{config: c, out: c.Out}
	switch c.Format {
	case "", Compact:
		p.colour = colours(c.Colour)
	case Table:
		p.table = tabwriter.NewWriter(c.Out, 2, 0, 3, ' ', 0)
		p.out = p.table
	case JSON:
	default:
		return nil, fmt.Errorf("there is no output %q: it is %s", c.Format, strings.Join(Formats(), ", "))
	}
	return p, nil
}

// Print writes one response: a flow, a loss, or news of nodes that do not answer.
func (p *Printer) Print(res *observerpb.GetFlowsResponse) error {
	if status := res.GetNodeStatus(); status != nil {
		return p.status(res, status)
	}
	if res.GetFlow() == nil && res.GetLostEvents() == nil {
		return nil
	}
	var err error
	switch p.config.Format {
	case JSON:
		err = json.NewEncoder(p.out).Encode(res)
	case Table:
		err = p.row(res)
	default:
		_, err = fmt.Fprintln(p.out, p.line(res))
	}
	if err != nil {
		return fmt.Errorf("print a flow: %w", err)
	}
	return nil
}

// Close writes what a table has held back for the width of its columns.
func (p *Printer) Close() error {
	if p.table == nil {
		return nil
	}
	if err := p.table.Flush(); err != nil {
		return fmt.Errorf("print flows: %w", err)
	}
	return nil
}

// status names nodes whose flows are missing. That a node answers is no news.
func (p *Printer) status(res *observerpb.GetFlowsResponse, s *relaypb.NodeStatusEvent) error {
	if p.config.Err == nil {
		return nil
	}
	const most = 8
	names := Clean(strings.Join(s.GetNodeNames()[:min(most, len(s.GetNodeNames()))], ", "))
	if more := len(s.GetNodeNames()) - most; more > 0 {
		names += fmt.Sprintf(" (and %d more)", more)
	}
	line := ""
	switch s.GetStateChange() {
	case relaypb.NodeState_NODE_UNAVAILABLE:
		line = fmt.Sprintf("%d nodes are unavailable: %s", len(s.GetNodeNames()), names)
	case relaypb.NodeState_NODE_ERROR:
		line = fmt.Sprintf("Error %q on %d nodes: %s", Clean(s.GetMessage()), len(s.GetNodeNames()), names)
	default:
		return nil
	}
	_, err := fmt.Fprintf(p.config.Err, "%s [%s]: %s\n", stampOf(res.GetTime()), Clean(res.GetNodeName()), line)
	return err
}
