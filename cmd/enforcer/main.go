// Command septum-enforcer is the node agent.
//
//	septum-enforcer [flags]            run
//	septum-enforcer cni [flags]        put the CNI plugin into the node's network list, or take it out
//	septum-enforcer cleanup [flags]    remove everything from the node, for uninstalling
//	septum-enforcer flows [flags]      print what was seen on the node
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/enforcer/flow"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "flows" {
		o, err := parseRead(os.Args[2:])
		refuse(err)
		if err := readFlows(ctx, os.Stdout, o); err != nil {
			fmt.Fprintln(os.Stderr, "septum-enforcer:", err)
			os.Exit(1) //nolint:gocritic // stop has nothing to do that the end of the process does not
		}
		return
	}
	o, verb, err := parse(os.Args[1:])
	refuse(err)
	handler := slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: o.level})
	log := logr.FromSlogHandler(handler)
	switch verb {
	case verbCleanup:
		err = clean(log, o)
	case verbCNI:
		err = setUpPlugin(log, o.cni)
	default:
		err = run(ctx, log, o)
	}
	if err != nil {
		log.Error(err, "septum-enforcer ends")
		os.Exit(1) //nolint:gocritic // stop has nothing to do that the end of the process does not
	}
}

// refuse ends the program if its arguments are wrong.
func refuse(err error) {
	if err == nil {
		return
	}
	if !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "septum-enforcer:", err)
	}
	os.Exit(2)
}

// What the program can be asked to do, beside to run.
const (
	verbCleanup = "cleanup"
	verbCNI     = "cni"
)

// options are the flags.
type options struct {
	node, operator, serverName   string
	token, ca, state, run        string
	netns, pins, cgroup, procSys string
	metrics                      string
	flowSocket, flowAddress      string
	flowCluster                  string
	flowRoom                     int
	flowQueries                  bool
	proxyID                      int
	ackTimeout, drainLimit       time.Duration
	level                        slog.Level
	maxHeap                      uint64
	maxConnections               int64
	shares                       bpf.Shares
	cni                          cniOptions
	export                       exportOptions
}

func parse(args []string) (o options, verb string, err error) {
	if len(args) > 0 && (args[0] == verbCleanup || args[0] == verbCNI) {
		verb, args = args[0], args[1:]
	}
	f := flag.NewFlagSet("septum-enforcer", flag.ContinueOnError)
	f.StringVar(&o.node, "node-name", os.Getenv("NODE_NAME"), "name of this node; the default is $NODE_NAME")
	f.StringVar(&o.operator, "operator-address", "septum-operator.septum-system.svc:9443", "address of the operator, host:port")
	f.StringVar(&o.serverName, "operator-server-name", "", "name in the operator's certificate; the default is the host of its address")
	f.StringVar(&o.token, "token-file", "/var/run/secrets/septum/token", "service account token")
	f.StringVar(&o.ca, "ca-file", "/etc/septum/ca/ca.crt", "certificates that the operator's must come from")
	f.StringVar(&o.state, "state-dir", "/var/lib/septum", "directory for the last good state")
	f.StringVar(&o.run, "run-dir", "/run/septum/proxy", "directory shared with the proxy pod, at the same path in both")
	f.StringVar(&o.netns, "netns-dirs", "/run/netns", "directories of the pods' network namespaces, separated by commas")
	f.StringVar(&o.pins, "bpf-dir", "/sys/fs/bpf/septum", "directory on a bpffs for programs and maps")
	f.StringVar(&o.cgroup, "cgroup-root", "", "mount point of cgroup2; the default is /sys/fs/cgroup, or its directory unified")
	f.StringVar(&o.procSys, "proc-sys", "", "directory to write the proxy namespace's sysctls in, should /proc/sys be read-only")
	f.StringVar(&o.metrics, "metrics-address", ":9965", "address for metrics and health; empty is none")
	f.IntVar(&o.proxyID, "proxy-id", 10077, "user and group id that the proxy runs as")
	f.DurationVar(&o.ackTimeout, "ack-timeout", 5*time.Second, "how long Envoy may take to acknowledge a change")
	f.DurationVar(&o.drainLimit, "drain-limit", 30*time.Second, "how long connections that no policy asks for any more may stay with the proxy")
	f.Uint64Var(&o.maxHeap, "proxy-max-heap", 0, "bytes of heap at which Envoy refuses requests; 0 is 1 GiB")
	f.Int64Var(&o.maxConnections, "proxy-connections", 0, "proxied connections of the node at once; 0 is 100,000")
	o.shares = bpf.Shares{Client: defaultClientShare, Class: defaultClassShare}
	shareVar(f, &o.shares.Client, "proxy-client-connections", "proxied connections of one client (an address, on ingress and on egress) at once; 0 is any number")
	shareVar(f, &o.shares.Class, "proxy-class-connections", "proxied connections that the same rules judge, at once; 0 is any number")
	f.StringVar(&o.flowSocket, "flow-socket", "", "unix socket to serve flows at, for root; the default is hubble.sock in the directory above run-dir, \"none\" is none")
	f.StringVar(&o.flowAddress, "flow-address", "127.0.0.1:4244", "loopback address to serve flows at, for everybody on the node; empty is none")
	f.StringVar(&o.flowCluster, "flow-cluster-address", "", "address of the node to serve flows at, for the operator alone (mutual TLS), such as :4247; empty is none")
	f.IntVar(&o.flowRoom, "flow-room", flow.DefaultRoom, "how many flows are kept")
	o.export.flags(f)
	f.BoolVar(&o.flowQueries, "flow-queries", false, "keep the query of URLs in flows, which may hold secrets")
	o.cni.flags(f)
	level := f.String("log-level", "info", "lowest level that is logged: debug, info or error")
	if err := f.Parse(args); err != nil {
		return o, verb, err
	}
	if err := o.level.UnmarshalText([]byte(*level)); err != nil {
		return o, verb, fmt.Errorf("log level: %w", err)
	}
	return o, verb, o.complete(verb)
}

// The shares of one client and of one class, below Envoy's limit on all connections.
const (
	defaultClientShare = 10_000
	defaultClassShare  = 50_000
)

func shareVar(f *flag.FlagSet, to *uint32, name, usage string) {
	usage += fmt.Sprintf(" (default %d)", *to)
	f.Func(name, usage, func(text string) error {
		n, err := strconv.ParseUint(text, 10, 32)
		*to = uint32(n)
		return err
	})
}

func (o *options) complete(verb string) error {
	switch o.flowSocket {
	case "":
		o.flowSocket = filepath.Join(filepath.Dir(o.run), filepath.Base(flowSocket))
	case "none":
		o.flowSocket = ""
	}
	if o.cgroup == "" {
		o.cgroup = "/sys/fs/cgroup"
		if hybrid := filepath.Join(o.cgroup, "unified"); !isCgroup2(o.cgroup) && isCgroup2(hybrid) {
			o.cgroup = hybrid
		}
	}
	if verb != "" {
		return nil
	}
	if o.node == "" {
		return errors.New("the node's name is missing")
	}
	if err := o.export.check(); err != nil {
		return err
	}
	if o.serverName == "" {
		host, _, err := net.SplitHostPort(o.operator)
		if err != nil {
			return fmt.Errorf("operator's address: %w", err)
		}
		o.serverName = host
	}
	return nil
}

func isCgroup2(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

func (o *options) netnsDirs() []string { return strings.Split(o.netns, ",") }

func (o *options) socket(name string) string { return filepath.Join(o.run, name) }
