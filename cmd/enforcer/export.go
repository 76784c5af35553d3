package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/septum-dev/septum/enforcer/flow"
)

// exportOptions are where flows go by themselves: nowhere by default.
type exportOptions struct {
	file flow.FileConfig
	otlp flow.OTLPConfig
}

func (o *exportOptions) flags(f *flag.FlagSet) {
	f.StringVar(&o.file.Path, "flow-log", "", "file to write flows to, as JSON; none if it is empty")
	f.IntVar(&o.file.Megabytes, "flow-log-megabytes", 10, "size at which the next file is begun")
	f.IntVar(&o.file.Files, "flow-log-files", 5, "how many older files are kept")
	f.StringVar(&o.otlp.Address, "otlp-address", "", "OpenTelemetry collector, host:port of OTLP over gRPC, to send flows to as logs; none if it is empty")
	f.StringVar(&o.otlp.CAFile, "otlp-ca-file", "", "certificates that the collector's must come from; the default is the system's")
	f.BoolVar(&o.otlp.Plain, "otlp-plaintext", false, "speak to the collector without TLS")
}

// check finds what is wrong with the flags before anything is begun.
func (o *exportOptions) check() error {
	var errs []error
	if o.otlp.Address != "" {
		if host, port, err := net.SplitHostPort(o.otlp.Address); err != nil || host == "" || port == "" {
			errs = append(errs, fmt.Errorf("otlp-address: %q is not host:port", o.otlp.Address))
		}
	} else if o.otlp.CAFile != "" || o.otlp.Plain {
		errs = append(errs, errors.New("otlp-ca-file and otlp-plaintext have no meaning without otlp-address"))
	}
	return errors.Join(errs...)
}

// The wait before an export that failed is begun again, and that for what waits at the end.
const (
	exportAgain = 10 * time.Second
	exportEnd   = 3 * time.Second
)

// exportFlows gives flows to where the flags say until ctx ends. That one fails is no reason
// to enforce nothing.
func exportFlows(ctx context.Context, g *errgroup.Group, log logr.Logger, o exportOptions, node string, flows *flow.Recorder, lost func(int)) {
	keep := func(what string, export func(context.Context) error) {
		g.Go(func() error {
			for {
				err := export(ctx)
				if ctx.Err() != nil {
					return nil
				}
				log.Error(err, "flows are not exported: trying again", "to", what)
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(exportAgain):
				}
			}
		})
	}
	if o.file.Path != "" {
		keep(o.file.Path, func(ctx context.Context) error {
			sink, file, err := flow.NewFile(o.file)
			if err != nil {
				return err
			}
			return errors.Join(flows.Export(ctx, sink), file.Close())
		})
	}
	if o.otlp.Address != "" {
		config := o.otlp
		config.Node = node
		config.Lost = func(n int, why error) {
			lost(n)
			log.Error(why, "flows not taken by the collector", "flows", n)
		}
		keep(config.Address, func(ctx context.Context) error {
			out, err := flow.NewOTLP(ctx, config)
			if err != nil {
				return err
			}
			err = flows.Export(ctx, out.Sink(ctx))
			ending, stop := context.WithTimeout(context.WithoutCancel(ctx), exportEnd)
			defer stop()
			return errors.Join(err, out.Close(ending))
		})
	}
}
