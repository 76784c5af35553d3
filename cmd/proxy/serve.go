package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/enforcer/launch"
	"github.com/septum-dev/septum/enforcer/proxy"
	"github.com/septum-dev/septum/enforcer/proxy/dns"
	"github.com/septum-dev/septum/enforcer/proxy/kafka"
	"github.com/septum-dev/septum/enforcer/proxy/stream"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/wire"
)

// gcPercent is below Go's own 100: the proxy's memory counts more than its cycles.
const gcPercent = 50

// memoryLimit is where cycles count no more: what is left of the pod's memory beside Envoy's.
const memoryLimit = 384 << 20

// serve is Septum's own proxy: it asks the enforcer for classes and serves them until it is
// told to end.
func serve(log *slog.Logger, args []string) error {
	flags := flag.NewFlagSet("septum-proxy serve", flag.ContinueOnError)
	refusal := flags.String("dns-refusal", refused, "what a DNS question is answered that no rule allows: refused or nxdomain")
	socket := flags.String("socket", "/run/septum/proxy/"+launch.ProxySocket, "path of the enforcer's socket")
	lifeline := flags.Bool("lifeline", false, "answer the launcher's questions for a sign of life, on descriptor 3")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("parse flags: %w", err)
	}
	code, err := refusalCode(*refusal)
	if err != nil {
		return err
	}
	if err := launch.EndWithParent(); err != nil {
		return err
	}
	if *lifeline {
		if err := launch.HoldLifeline(); err != nil {
			return err
		}
	}
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	failed := unlessRepeated(func(err error) { log.Warn("not as it should be", "error", err.Error()) })
	client := stream.NewClient(*socket)
	own := proxy.New(ctx, proxy.Config{Handlers: handlers(client, code), Failed: failed})
	defer own.Close()
	client.Apply, client.Failed = own.Apply, failed
	return client.Run(ctx)
}

// refused is the answer to a DNS question that no rule allows, if nothing else is said.
const refused = "refused"

func refusalCode(name string) (dnsmessage.RCode, error) {
	switch name {
	case refused:
		return dnsmessage.RCodeRefused, nil
	case "nxdomain":
		return dnsmessage.RCodeNameError, nil
	}
	return 0, fmt.Errorf("dns-refusal: %q is neither refused nor nxdomain", name)
}

// handlers are the kinds of classes that are served.
func handlers(client *stream.Client, refusal dnsmessage.RCode) map[policy.Kind]proxy.Handler {
	learn := func(ctx context.Context, a dns.Answer) {
		client.Lookup(ctx, wire.Lookup{Client: a.Client, Name: a.Name, Addrs: a.Addrs, TTL: a.TTL})
	}
	return map[policy.Kind]proxy.Handler{
		policy.KindDNS:   dns.New(dns.Config{Event: client.Event, Learn: learn, Refusal: refusal}),
		policy.KindKafka: kafka.New(client.Event),
	}
}
