// Command uninstall is what the chart's hooks run when Septum is uninstalled or tested.
//
//	uninstall installed waits until everything runs ("helm test")
//	uninstall stopped   waits until no enforcer and no proxy is left
//	uninstall hold      does nothing until it is stopped: a DaemonSet's pod that has cleaned its node stays up
//	uninstall finish    waits until every node is clean, then removes what the operator wrote into the namespace
//
// It speaks to the API server with nothing but net/http, to be a small part of the enforcer's image.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "uninstall:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	namespace := flag.String("namespace", "septum-system", "namespace of the installation")
	timeout := flag.Duration("timeout", 3*time.Minute, "longest time to wait")
	flag.Parse()

	if flag.Arg(0) == "hold" {
		<-ctx.Done()
		return nil
	}
	api, err := inCluster(*namespace)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	switch flag.Arg(0) {
	case "installed":
		return poll(ctx, time.Second, api.installed)
	case "stopped":
		return poll(ctx, time.Second, api.stopped)
	case "finish":
		if err := poll(ctx, time.Second, api.clean); err != nil {
			return err
		}
		return api.removeWritten(ctx)
	default:
		return fmt.Errorf("say one of installed, stopped, hold, finish; not %q", flag.Arg(0))
	}
}

// poll asks again until the condition holds; what is awaited is printed when it changes.
func poll(ctx context.Context, every time.Duration, condition func(context.Context) (done bool, waitingFor string, err error)) error {
	last := ""
	for {
		done, waitingFor, err := condition(ctx)
		if err != nil {
			waitingFor = err.Error()
		}
		if done && err == nil {
			return nil
		}
		if waitingFor != last {
			fmt.Println("waiting:", waitingFor)
			last = waitingFor
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("still waiting: %s", waitingFor), ctx.Err())
		case <-time.After(every):
		}
	}
}
