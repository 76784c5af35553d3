package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/relay/text"
)

// flowSocket is where an enforcer serves its flows, if it is not told otherwise.
const flowSocket = "/run/septum/hubble.sock"

// serveFlows answers Hubble's clients until ctx ends. That a socket or port cannot be had
// is no reason to enforce nothing.
func serveFlows(ctx context.Context, g *errgroup.Group, log logr.Logger, o options, flows *flow.Recorder, operator *tls.Config) {
	plain := flows.Serve
	secured := func(ctx context.Context, l net.Listener) error { return flows.ServeTLS(ctx, l, operator) }
	for _, s := range []struct {
		name   string
		listen func(string) (net.Listener, error)
		serve  func(context.Context, net.Listener) error
	}{{o.flowSocket, flow.ListenUnix, plain}, {o.flowAddress, flow.ListenLoopback, plain}, {o.flowCluster, flow.ListenNode, secured}} {
		if s.name == "" {
			continue
		}
		g.Go(func() error {
			l, err := s.listen(s.name)
			if err == nil {
				err = s.serve(ctx, l)
			}
			if err != nil {
				log.Error(err, "flows are not served", "address", s.name)
			}
			return nil
		})
	}
}

// readOptions are the flags of "septum-enforcer flows".
type readOptions struct {
	socket, namespace, verdict, output string
	follow                             bool
	last                               uint64
}

func parseRead(args []string) (readOptions, error) {
	var o readOptions
	f := flag.NewFlagSet("septum-enforcer flows", flag.ContinueOnError)
	f.StringVar(&o.socket, "socket", flowSocket, "socket of the enforcer")
	f.BoolVar(&o.follow, "follow", false, "go on with the flows that come")
	f.Uint64Var(&o.last, "last", 20, "how many of the flows that are kept to print; 0 is all")
	f.StringVar(&o.namespace, "namespace", "", "only flows from or to pods of this namespace")
	f.StringVar(&o.verdict, "verdict", "", "only flows with this verdict: FORWARDED, DROPPED, AUDIT or REDIRECTED")
	f.StringVar(&o.output, "o", "compact", "output: compact or json")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("there is no argument %q", f.Arg(0))
	}
	if o.output != "compact" && o.output != "json" {
		return o, fmt.Errorf("there is no output %q: it is compact or json", o.output)
	}
	if _, ok := flowpb.Verdict_value[strings.ToUpper(o.verdict)]; o.verdict != "" && !ok {
		return o, fmt.Errorf("there is no verdict %q", o.verdict)
	}
	return o, nil
}

func (o readOptions) request() *observerpb.GetFlowsRequest {
	req := &observerpb.GetFlowsRequest{Number: o.last, Follow: o.follow}
	var verdicts []flowpb.Verdict
	if o.verdict != "" {
		verdicts = []flowpb.Verdict{flowpb.Verdict(flowpb.Verdict_value[strings.ToUpper(o.verdict)])}
	}
	if o.namespace != "" {
		pods := []string{o.namespace + "/"}
		req.Whitelist = []*flowpb.FlowFilter{{SourcePod: pods, Verdict: verdicts}, {DestinationPod: pods, Verdict: verdicts}}
	} else if verdicts != nil {
		req.Whitelist = []*flowpb.FlowFilter{{Verdict: verdicts}}
	}
	return req
}

// readFlows prints the flows of this node, for people who have no Hubble CLI.
func readFlows(ctx context.Context, out io.Writer, o readOptions) error {
	conn, err := grpc.NewClient("unix://"+o.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to the enforcer: %w", err)
	}
	defer conn.Close()
	stream, err := observerpb.NewObserverClient(conn).GetFlows(ctx, o.request())
	if err != nil {
		return fmt.Errorf("ask for flows: %w", err)
	}
	show, err := text.New(text.Config{Out: out, Err: os.Stderr, Format: o.output, Policies: true})
	if err != nil {
		return err
	}
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read flows from %s: %w", o.socket, err)
		}
		if err := show.Print(res); err != nil {
			return err
		}
	}
}
