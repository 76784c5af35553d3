package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/enforcer"
	"github.com/septum-dev/septum/enforcer/cni"
	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/enforcer/launch"
	"github.com/septum-dev/septum/enforcer/links"
	"github.com/septum-dev/septum/enforcer/netns"
	"github.com/septum-dev/septum/enforcer/proxy/stream"
	"github.com/septum-dev/septum/enforcer/proxyns"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/envoy"
	"github.com/septum-dev/septum/xds/wire"
)

// eventRoom is how many events may wait for the loop; what finds no room is counted as lost.
const eventRoom = 8192

// watchAgain is the wait before the node's interfaces are watched again after an error.
const watchAgain = time.Second

// run wires the parts and runs them until ctx ends or one fails. The data path goes on.
func run(ctx context.Context, log logr.Logger, o options) error {
	if err := os.MkdirAll(o.state, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	noIPv6 := !netns.KernelHasIPv6()
	datapath, err := bpf.Open(bpf.Config{PinPath: o.pins, CgroupRoot: o.cgroup, NoIPv6: noIPv6})
	if err != nil {
		return fmt.Errorf("open data path: %w", err)
	}
	defer datapath.Close()
	if err := datapath.SetShares(o.shares); err != nil {
		return err
	}
	finder, err := links.NewFinder(o.netnsDirs()...)
	if err != nil {
		return err
	}
	defer finder.Close()
	client, err := newClient(log, o)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	metrics, hubble := enforcer.NewMetrics(registry), flow.NewMetrics(registry, time.Now)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		envoy.NewStats(o.adminSocket(), o.maxHeap))
	starts := make(chan *cni.Pod)
	proxies, changed := make(chan *launch.Proxy), make(chan struct{}, 1)
	lookups := make(chan enforcer.Lookup, eventRoom)
	requests, packets, proxyChanged := make(chan policy.Event, eventRoom), make(chan bpf.Event, eventRoom), make(chan struct{}, 1)
	// request is what is done with a verdict of a proxy.
	request := func(source string) func(policy.Event) {
		return func(e policy.Event) {
			offer(requests, e, func() {
				metrics.Lost(source)
				hubble.Lost(flowpb.LostEventSource_OBSERVER_EVENTS_QUEUE, 1)
			})
		}
	}
	server, err := envoy.NewServer(envoy.Config{
		Node:     o.node,
		OnEvent:  request("envoy"),
		OnChange: func() { notify(proxyChanged) },
	})
	if err != nil {
		return err
	}
	own := stream.NewServer(stream.Config{
		Node:    o.node,
		OnEvent: request("proxy"),
		OnLost: func(n uint64) {
			metrics.LostMany("proxy", n)
			hubble.Lost(flowpb.LostEventSource_OBSERVER_EVENTS_QUEUE, n)
		},
		OnLookup: func(l wire.Lookup, known func()) {
			held := enforcer.Lookup{Lookup: l, Known: known}
			// What finds no room is let go, and stays closed until it is asked for again.
			offer(lookups, held, func() { metrics.Lost("lookups"); known() })
		},
		OnChange: func() { notify(proxyChanged) },
	})
	said := &sayer{options: o, client: client}
	flows, err := flow.New(flow.Config{Node: o.node, Room: o.flowRoom, Queries: o.flowQueries, Version: "septum", Metrics: hubble, Facts: said.facts})
	if err != nil {
		return err
	}
	loop, err := enforcer.New(enforcer.Config{
		Source: client, Datapath: datapath, Proxy: server, Own: own, Links: finder, Store: &enforcer.Disk{Dir: o.state},
		Namespace: func(ns *os.File, c proxyns.Config) (proxyns.Link, error) {
			if o.procSys != "" {
				c.ProcSys = []string{o.procSys}
			}
			return proxyns.Setup(ns, c)
		},
		Inputs: enforcer.Inputs{
			Starts: starts, Proxies: proxies, Lookups: lookups, Changed: changed, ProxyChanged: proxyChanged, Requests: requests, Packets: packets,
		},
		Bootstrap: o.socket("envoy.json"), Instance: rand.Text(), Metrics: metrics, Log: log, AckTimeout: o.ackTimeout,
		Flows: flows, NoIPv6: noIPv6, DrainLimit: o.drainLimit,
	})
	if err != nil {
		return err
	}
	said.loop.Store(loop)
	sockets, err := listen(o)
	if err != nil {
		return err
	}
	plugins, err := cni.Listen(o.cni.socket)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	serveFlows(ctx, g, log, o, flows, client.FlowTLS())
	exportFlows(ctx, g, log, o.export, o.node, flows, func(n int) { hubble.Lost(flowpb.LostEventSource_OBSERVER_EVENTS_QUEUE, uint64(n)) })
	g.Go(func() error { return loop.Run(ctx) })
	g.Go(func() error { return client.Run(ctx) })
	g.Go(func() error { return server.Serve(ctx, sockets.xds) })
	g.Go(func() error { return own.Serve(ctx, sockets.proxy) })
	g.Go(func() error {
		hello := func(p *launch.Proxy) {
			select {
			case proxies <- p:
			case <-ctx.Done():
			}
		}
		failed := func(err error) { log.Info("proxy's hand-shake failed", "reason", err.Error()) }
		return launch.Serve(ctx, sockets.launch, o.proxyID, hello, failed)
	})
	g.Go(func() error { return serveStarts(ctx, log, plugins, starts) })
	if o.cni.enabled {
		g.Go(func() error { return keepPlugin(ctx, log, o.cni) })
	}
	g.Go(func() error { return watch(ctx, log, changed, o.netnsDirs()) })
	g.Go(func() error {
		return datapath.Events(ctx, func(e bpf.Event) {
			offer(packets, e, func() {
				metrics.Lost("bpf")
				hubble.Lost(flowpb.LostEventSource_OBSERVER_EVENTS_QUEUE, 1)
			})
		})
	})
	if o.metrics != "" {
		g.Go(func() error {
			// A port that another program of the node has is no reason to enforce nothing.
			if err := serveMetrics(ctx, o.metrics, metrics); err != nil {
				log.Error(err, "metrics and health are not served")
			}
			return nil
		})
	}
	log.Info("septum-enforcer runs", "node", o.node)
	return g.Wait()
}

func newClient(log logr.Logger, o options) (*xds.Client, error) {
	state, err := xds.LoadState(o.state)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Error(err, "stored state not used")
	}
	return xds.NewClient(xds.ClientConfig{
		Target: o.operator, ServerName: o.serverName, Node: o.node,
		RootsFile: o.ca, TokenFile: o.token, StateDir: o.state, State: state, Log: log,
	})
}

func watch(ctx context.Context, log logr.Logger, changed chan struct{}, dirs []string) error {
	for ctx.Err() == nil {
		if err := links.Watch(ctx, changed, dirs...); err != nil {
			log.Error(err, "interfaces not watched: watching again")
		}
		notify(changed) // what happened meanwhile
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
	return nil
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// offer calls lost where the channel is full.
func offer[E any](c chan E, e E, lost func()) {
	select {
	case c <- e:
	default:
		lost()
	}
}

func serveMetrics(ctx context.Context, addr string, m *enforcer.Metrics) error {
	srv := &http.Server{Addr: addr, Handler: m.Handler(time.Now), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
