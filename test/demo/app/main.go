// Command app is what the demo's pods run: the backend's server and the clients.
//
//	septum-demo serve [-listen :80] [-dns :53]  answers every request with what it saw
//	septum-demo get [-X METHOD] URL             one request on a new connection
//	septum-demo lookup -server ADDR:53 NAME     one question to a DNS server
//	septum-demo kafka HOST:PORT FRAME…          Kafka requests on one connection
//	septum-demo load [-for 10s] [-same] URL     many requests, and a count of the answers
//	septum-demo idle                            waits, so that requests can be made from the pod
//
// get prints one line: the status and the body, or "no answer" and why; lookup the code and the
// addresses; kafka whether each request was answered or refused.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Println(err)
		stop()
		os.Exit(1)
	}
}

// run is the command with these arguments.
func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("use one of: serve, get, lookup, kafka, load, idle")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "serve":
		var s service
		flags.StringVar(&s.listen, "listen", ":80", "addresses to listen on: HTTP, HTTPS and DNS over TCP")
		flags.StringVar(&s.dns, "dns", "", "addresses to listen on: DNS over UDP")
		flags.StringVar(&s.cert, "cert", "", "file of the certificate to show")
		flags.StringVar(&s.key, "key", "", "file of its key")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return s.serve(ctx)
	case "lookup":
		q := question{}
		flags.StringVar(&q.server, "server", "", "address and port of the server")
		flags.BoolVar(&q.tcp, "tcp", false, "ask over TCP")
		flags.DurationVar(&q.timeout, "timeout", 3*time.Second, "how long to wait for the answer")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		q.name = flags.Arg(0)
		text, err := lookup(ctx, q)
		if err != nil {
			return err
		}
		fmt.Println(text)
		return nil
	case "get":
		request := requestFlags(flags)
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		request.url = flags.Arg(0)
		answer, err := get(ctx, *request)
		if err != nil {
			return err
		}
		fmt.Println(answer)
		return nil
	case "load":
		request := requestFlags(flags)
		plan := plan{}
		flags.DurationVar(&plan.length, "for", 10*time.Second, "how long")
		flags.DurationVar(&plan.every, "every", 20*time.Millisecond, "time from one request to the next")
		flags.BoolVar(&plan.same, "same", false, "make all requests on one connection; a second one is an error")
		flags.IntVar(&plan.expect, "expect", 0, "status that every answer must have (0: any)")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		request.url = flags.Arg(0)
		return load(ctx, os.Stdout, *request, plan)
	case "kafka":
		plan, timeout := plan{}, time.Duration(0)
		flags.DurationVar(&plan.length, "for", 0, "how long to repeat the requests (0: once)")
		flags.DurationVar(&plan.every, "every", 50*time.Millisecond, "time from one round of requests to the next")
		flags.DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for an answer")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		requests, err := kafkaRequestsOf(flags.Args())
		if err != nil {
			return err
		}
		requests.timeout = timeout
		return requests.run(ctx, os.Stdout, plan)
	case "idle":
		<-ctx.Done()
		return nil
	}
	return fmt.Errorf("there is no command %s; use one of: serve, get, lookup, kafka, load, idle", args[0])
}
