// Command septum-proxy is the first process of the proxy pod: it introduces the pod to
// the node's enforcer and keeps Envoy and Septum's own proxy running.
//
//	septum-proxy [flags]                run
//	septum-proxy serve [flags]          be Septum's own proxy: what Envoy cannot judge
//	septum-proxy install PATH           copy itself to PATH (a file, or a directory for a file
//	                                    of its own name), with CAP_NET_RAW as file capability
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/septum-dev/septum/enforcer/launch"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := run(log, os.Args[1:]); err != nil {
		log.Error("septum-proxy ends", "error", err.Error())
		os.Exit(1)
	}
}

func run(log *slog.Logger, args []string) error {
	if len(args) > 0 && args[0] == "install" {
		if len(args) != 2 {
			return errors.New("usage: septum-proxy install PATH")
		}
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own program: %w", err)
		}
		return launch.Install(self, args[1])
	}
	if len(args) > 0 && args[0] == "serve" {
		return serve(log, args[1:])
	}
	flags := flag.NewFlagSet("septum-proxy", flag.ContinueOnError)
	envoy := flags.String("envoy", "/usr/local/bin/envoy", "path of Envoy")
	socket := flags.String("socket", "/run/septum/proxy/launch.sock", "path of the enforcer's socket")
	concurrency := flags.Int("concurrency", 2, "Envoy's worker threads; 0 is one per processor")
	level := flags.String("log-level", "warning", "Envoy's log level")
	refusal := flags.String("dns-refusal", refused, "what a DNS question is answered that no rule allows: refused or nxdomain")
	drain := flags.Duration("stop-timeout", 5*time.Second, "how long Envoy and Septum's own proxy may take to end")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("parse flags: %w", err)
	}
	if _, err := refusalCode(*refusal); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	bootstrap := make(chan string, 1)
	client := &launch.Client{
		Socket: *socket, Instance: rand.Text(),
		Ready: func(r launch.Reply) {
			log.Info("the enforcer is ready", "bootstrap", r.Bootstrap)
			select {
			case bootstrap <- r.Bootstrap:
			default: // Envoy runs already
			}
		},
		Failed: unlessRepeated(func(err error) { log.Warn("not connected to the enforcer", "error", err.Error()) }),
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { client.Run(ctx) })
	select {
	case <-ctx.Done():
		return nil
	case path := <-bootstrap:
		defer stop()
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own program: %w", err)
		}
		serve := []string{"serve", "--lifeline", "--dns-refusal=" + *refusal, "--socket=" + filepath.Join(filepath.Dir(*socket), launch.ProxySocket)}
		line := &launch.Lifeline{}
		envoyWatch := watchOf(log, envoyName, launch.EnvoyAlive(path), launch.MainThread)
		ownWatch := watchOf(log, ownName, line.Alive, launch.AnyThread)
		for _, w := range []*launch.Watch{envoyWatch, ownWatch} {
			wg.Go(func() { w.Run(ctx) })
		}
		return launch.Run(ctx,
			watched(envoyWatch, process(log, envoyName, &launch.Process{Path: *envoy, Args: envoyArgs(path, *level, *concurrency), StopTimeout: *drain})),
			watched(ownWatch, process(log, ownName, &launch.Process{Path: self, Args: serve, Inherit: line.Inherit, StopTimeout: *drain})))
	}
}

// The names of the processes in the log.
const (
	envoyName = "Envoy"
	ownName   = "septum-proxy serve"
)

// watchOf watches a process that gives signs of life in that way.
func watchOf(log *slog.Logger, name string, alive func(context.Context) error, look func(pid int) (launch.Progress, error)) *launch.Watch {
	return &launch.Watch{Alive: alive, Look: look, Hangs: func(pid int, err error) {
		log.Error("process hangs and is killed", "process", name, "pid", pid, "error", err.Error())
	}}
}

// unlessRepeated calls report for an error that is not the same as the one before.
func unlessRepeated(report func(error)) func(error) {
	last := ""
	return func(err error) {
		if err.Error() != last {
			last = err.Error()
			report(err)
		}
	}
}

// envoyArgs are Envoy's. A listener that goes is drained within the second that a
// connection which no longer belongs to a class may live on.
func envoyArgs(bootstrap, level string, concurrency int) []string {
	args := []string{
		"--config-path", bootstrap, "--use-dynamic-base-id", "--log-level", level,
		// Each message that uses a new field would be warned of, again and again.
		"--component-log-level", "misc:error",
		"--drain-time-s", "1", "--drain-strategy", "immediate", "--parent-shutdown-time-s", "2",
	}
	if concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(concurrency))
	}
	return args
}

// process gives a process what it needs to open its sockets, and logs what becomes of it.
func process(log *slog.Logger, name string, p *launch.Process) *launch.Process {
	p.Ambient = launch.Ambient()
	p.Started = func(pid int) { log.Info("process started", "process", name, "pid", pid) }
	p.Ended = func(pid int, status syscall.WaitStatus) {
		log.Warn("process ended", "process", name, "pid", pid, "exit", status.ExitStatus(), "signal", status.Signal().String())
	}
	return p
}

// watched has a process killed when it hangs.
func watched(w *launch.Watch, p *launch.Process) *launch.Process {
	started, ended := p.Started, p.Ended
	p.Started = func(pid int) { w.Started(pid); started(pid) }
	p.Ended = func(pid int, status syscall.WaitStatus) { w.Ended(); ended(pid, status) }
	return p
}
