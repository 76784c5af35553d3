package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/septum-dev/septum/relay/text"
)

// flowOptions are the flags of "flows" that select no flows by what they say.
type flowOptions struct {
	follow, all, nodes    bool
	last, first           uint64
	since, until          string
	output, colour, topic string
	policies              bool
}

func flowsCommand(src *source) *cobra.Command {
	var o flowOptions
	filters := newFlowFilters()
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "Show the connections and requests of all nodes, and what was decided on them",
		Long: `Show the connections and requests of all nodes, and what was decided on them, as "hubble observe" does.

The operator is asked through a port-forward of the kubeconfig's user, with the certificate of the Secret
septum-flow-reader. Filters of different kinds must all hold, of several values of one kind one; "--not" before a filter
leaves out what it selects. Names of pods without a namespace are in that of -n or of the kubeconfig. Losses and nodes
that do not answer are named.`,
		Example: `  kubectl septum flows -n demo --verdict DROPPED --follow
  kubectl septum flows --since 5m --to-pod demo/backend --http-status 4+
  kubectl septum flows --protocol dns --not --fqdn "*.cluster.local"
  kubectl septum flows --kafka-topic orders -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(src.files) > 0 {
				return errors.New("flows are about a cluster: -f has no meaning")
			}
			req, err := o.request(time.Now())
			if err != nil {
				return err
			}
			if o.topic != "" {
				if err := filters.set("protocol", "kafka"); err != nil {
					return err
				}
			}
			if req.Whitelist, req.Blacklist, err = filters.lists(src.namespace(), src.filtered(cmd)); err != nil {
				return err
			}
			return showFlows(cmd.Context(), src, o, req, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	set := cmd.Flags()
	set.BoolVar(&o.follow, "follow", false, "go on with the flows that come")
	set.Uint64Var(&o.last, "last", 0, "how many of the newest flows that are kept to show (20 if no other number and no time is given)")
	set.Uint64Var(&o.first, "first", 0, "how many of the oldest flows that are kept to show")
	set.BoolVar(&o.all, "all", false, "show all flows that are kept")
	set.StringVar(&o.since, "since", "", `only flows since a time: "5m" ago, or "2026-05-01T12:00:00Z"`)
	set.StringVar(&o.until, "until", "", "only flows until a time, as for --since")
	set.StringVarP(&o.output, "output", "o", text.Compact, "one of "+strings.Join(text.Formats(), ", "))
	set.StringVar(&o.colour, "color", "auto", "auto (on a terminal, unless NO_COLOR is set), always or never; of compact only")
	set.BoolVar(&o.nodes, "print-node-name", false, "print the name of the node that judged")
	set.BoolVar(&o.policies, "print-policy-names", true, "print which policies decided")
	set.StringVar(&o.topic, "kafka-topic", "", "only Kafka requests about this topic")
	filters.flags(set)
	completeFlows(cmd)
	return cmd
}

// filtered is true if a namespace was asked for, and is not only that of the kubeconfig.
func (s *source) filtered(cmd *cobra.Command) bool { return cmd.Flags().Changed("namespace") }

const lastByDefault = 20

// request has everything but filters.
func (o flowOptions) request(now time.Time) (*observerpb.GetFlowsRequest, error) {
	numbers := 0
	for _, given := range []bool{o.last > 0, o.first > 0, o.all} {
		if given {
			numbers++
		}
	}
	switch {
	case numbers > 1:
		return nil, errors.New("--last, --first and --all exclude each other")
	case o.first > 0 && o.follow:
		return nil, errors.New("--first and --follow exclude each other")
	case o.output == text.Table && o.follow:
		return nil, errors.New("a table cannot follow, as the width of its columns is known at its end: use -o compact")
	case o.colour != "auto" && o.colour != "always" && o.colour != "never":
		return nil, fmt.Errorf("--color is auto, always or never, and not %q", o.colour)
	}
	req := &observerpb.GetFlowsRequest{Follow: o.follow, Number: max(o.last, o.first), First: o.first > 0}
	var err error
	if req.Since, err = moment("since", o.since, now); err != nil {
		return nil, err
	}
	if req.Until, err = moment("until", o.until, now); err != nil {
		return nil, err
	}
	if o.all {
		req.Number = math.MaxUint64
	}
	if req.Number == 0 && req.Since == nil && req.Until == nil && !o.follow {
		req.Number = lastByDefault
	}
	return req, nil
}

// moment is a time, or one a while ago; nil if none is given.
func moment(name, given string, now time.Time) (*timestamppb.Timestamp, error) {
	if given == "" {
		return nil, nil //nolint:nilnil // no time is no error
	}
	if ago, err := time.ParseDuration(given); err == nil {
		return timestamppb.New(now.Add(-ago)), nil
	}
	at, err := time.Parse(time.RFC3339, given)
	if err != nil {
		return nil, fmt.Errorf(`--%s %q is no while, such as "5m", and no time, such as "2026-05-01T12:00:00Z"`, name, given)
	}
	return timestamppb.New(at), nil
}

// showFlows prints what the cluster answers.
func showFlows(ctx context.Context, src *source, o flowOptions, req *observerpb.GetFlowsRequest, out, errOut io.Writer) error {
	printer, err := text.New(text.Config{Out: out, Err: errOut, Format: o.output, Colour: wantColour(o.colour, out), Nodes: o.nodes, Policies: o.policies})
	if err != nil {
		return err
	}
	show, finish := printer.Print, printer.Close
	if o.topic != "" {
		show, finish = ofTopic(o, req, printer)
	}
	if err := src.readFlows(ctx, req, errOut, show); err != nil {
		return errors.Join(err, finish())
	}
	return finish()
}

// ofTopic leaves out what is about other topics: no server has a filter for them, so that
// the last of a topic are found among all that are kept.
func ofTopic(o flowOptions, req *observerpb.GetFlowsRequest, printer *text.Printer) (show func(*observerpb.GetFlowsResponse) error, finish func() error) {
	limit := req.GetNumber()
	if limit > 0 {
		req.Number = math.MaxUint64
	}
	var kept []*observerpb.GetFlowsResponse
	show = func(res *observerpb.GetFlowsResponse) error {
		f := res.GetFlow()
		if f != nil && f.GetL7().GetKafka().GetTopic() != o.topic { //nolint:staticcheck // Hubble has no other record for Kafka
			return nil
		}
		if f == nil || limit == 0 || o.follow {
			return printer.Print(res)
		}
		if !req.GetFirst() {
			kept = append(kept, res)
			kept = kept[max(0, len(kept)-int(min(limit, math.MaxInt32))):]
		} else if uint64(len(kept)) < limit {
			kept = append(kept, res)
		}
		return nil
	}
	finish = func() error {
		for _, res := range kept {
			if err := printer.Print(res); err != nil {
				return err
			}
		}
		return printer.Close()
	}
	return show, finish
}

// readFlows asks the cluster, and gives what it answers to each, until the answer or ctx ends.
func (s *source) readFlows(ctx context.Context, req *observerpb.GetFlowsRequest, errOut io.Writer, each func(*observerpb.GetFlowsResponse) error) error {
	conn, done, err := s.connect(ctx, errOut)
	if err != nil {
		return err
	}
	defer done()
	stream, err := observerpb.NewObserverClient(conn).GetFlows(ctx, req)
	if err != nil {
		return fmt.Errorf("ask for flows: %w", err)
	}
	for {
		res, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil, status.Code(err) == codes.Canceled:
			return nil
		case err != nil:
			return fmt.Errorf("read flows: %s", text.Clean(status.Convert(err).Message()))
		}
		if err := each(res); err != nil {
			return err
		}
	}
}

// wantColour is true on a terminal, unless the user says otherwise.
func wantColour(when string, out io.Writer) bool {
	if when != "auto" {
		return when == "always"
	}
	file, ok := out.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd()))
}

// isPort is true for a port's number.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
