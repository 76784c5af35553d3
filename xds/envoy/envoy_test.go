package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/septum-dev/septum/policy"
)

// realEnvoy is a stock Envoy under a Server, on loopback: its listeners are plain (not
// transparent), and every cluster leads to one upstream address.
type realEnvoy struct {
	server   *Server
	stop     func() // ends the server
	upstream string
	socket   string
	admin    string
	pid      int
	events   chan policy.Event
	numbers  policy.Numbers
	secrets  []policy.Secret
}

// envoyBinary fails the test where there is no Envoy: nothing else can show that a
// configuration means what it should.
func envoyBinary(t testing.TB) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("./fetch-envoy.sh")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("get Envoy: %v\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func startEnvoy(t testing.TB, upstream string) *realEnvoy {
	t.Helper()
	return startEnvoyWith(t, upstream, (*exec.Cmd).Start)
}

// startEnvoyWith leaves it to start where Envoy's process begins.
func startEnvoyWith(t testing.TB, upstream string, start func(*exec.Cmd) error) *realEnvoy {
	t.Helper()
	binary := envoyBinary(t)
	// Socket paths are short: t.TempDir's are not.
	dir, err := os.MkdirTemp("", "sept-f-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e := &realEnvoy{upstream: upstream, admin: filepath.Join(dir, "admin.sock"), socket: filepath.Join(dir, "xds.sock"),
		events: make(chan policy.Event, 4096)}
	e.serve(t)
	t.Cleanup(func() { e.stop() })

	boot, err := Bootstrap(BootstrapConfig{Node: "n1", XDSSocket: e.socket, AdminSocket: e.admin})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "envoy.json")
	if err := os.WriteFile(file, boot, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(binary, Args(file, 1)...)
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	e.pid = cmd.Process.Pid
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("kill Envoy: %v", err)
		}
		err := cmd.Wait()
		var exit *exec.ExitError
		killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		if !killed || t.Failed() {
			t.Logf("Envoy ended: %v\n%s", err, log.String())
		}
		if !killed {
			t.Error("Envoy did not live until the end of the test")
		}
	})
	waitFor(t, "Envoy to connect", e.server.Connected)
	return e
}

// serve makes a server; there may have been one before.
func (e *realEnvoy) serve(t testing.TB) {
	t.Helper()
	var err error
	e.server, err = NewServer(Config{Node: "n1", OnEvent: func(ev policy.Event) {
		select {
		case e.events <- ev:
		default:
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", e.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	server := e.server
	served.Go(func() {
		if err := server.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	e.stop = sync.OnceFunc(func() { cancel(); served.Wait() })
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

// plain makes a set work on loopback.
func (e *realEnvoy) plain(t testing.TB, set Set) Set {
	t.Helper()
	var out Set
	for _, l := range set.Listeners {
		l := proto.CloneOf(l)
		l.Transparent, l.SocketOptions, l.AdditionalAddresses = nil, nil, nil
		l.ListenerFilters = slices.DeleteFunc(l.ListenerFilters, func(f *listenerv3.ListenerFilter) bool { return f.Name != tlsInspector })
		out.Listeners = append(out.Listeners, l)
	}
	host, port, err := net.SplitHostPort(e.upstream)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range set.Clusters {
		c := proto.CloneOf(c)
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		c.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		c.UpstreamBindConfig = nil
		var number uint32
		if _, err := fmt.Sscan(port, &number); err != nil {
			t.Fatal(err)
		}
		c.LoadAssignment = &endpointv3.ClusterLoadAssignment{
			ClusterName: c.Name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{
					Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
						Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: number}}},
				}}},
			}}}},
		}
		out.Clusters = append(out.Clusters, c)
	}
	out.Routes, out.Secrets, out.Sealed = set.Routes, set.Secrets, set.Sealed
	return out
}

// apply gives Envoy the classes and waits until each listens; it returns their addresses.
func (e *realEnvoy) apply(t testing.TB, classes ...policy.Class) map[policy.ClassID]string {
	t.Helper()
	set, addrs := e.setFor(t, classes...)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := e.server.Apply(ctx, set); err != nil {
		t.Fatal(err)
	}
	for _, addr := range addrs {
		waitFor(t, addr, func() bool {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return false
			}
			c.Close()
			return true
		})
	}
	return addrs
}

// setFor numbers the classes with ports that are free: others test on this machine too.
func (e *realEnvoy) setFor(t testing.TB, classes ...policy.Class) (Set, map[policy.ClassID]string) {
	t.Helper()
	if e.numbers.Classes == nil {
		e.numbers.Classes = map[policy.ClassID]uint16{}
	}
	addrs := map[policy.ClassID]string{}
	for _, c := range classes {
		for e.numbers.Classes[c.ID] == 0 {
			port := freePort(t)
			if _, taken := e.numbers.Class(port); !taken {
				e.numbers.Classes[c.ID] = port
			}
		}
		addrs[c.ID] = fmt.Sprintf("127.0.0.1:%d", e.numbers.Classes[c.ID])
	}
	set, err := Resources(policy.NodePolicy{Node: "n1", Classes: classes, Secrets: e.secrets}, e.numbers)
	if err != nil {
		t.Fatal(err)
	}
	return e.plain(t, set), addrs
}

func freePort(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// echo is an upstream that answers 200 with what it got.
func echo(t testing.TB, handle http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: handle, Protocols: &protocols}
	var served sync.WaitGroup
	served.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() { srv.Close(); served.Wait() })
	return l.Addr().String()
}

// The names in tests.
func ruleID(path string) policy.RuleID {
	return policy.RuleID{Policy: policy.Ref{Kind: "L7NetworkPolicy", Namespace: "shop", Name: "api"}, Path: path}
}

func exact(s string) policy.StringMatch { return policy.StringMatch{Kind: policy.MatchExact, Value: s} }
func prefix(s string) policy.StringMatch {
	return policy.StringMatch{Kind: policy.MatchPrefix, Value: s}
}
func regex(s string) policy.StringMatch { return policy.StringMatch{Kind: policy.MatchRegex, Value: s} }

func matches(m ...policy.StringMatch) []policy.StringMatch { return m }

func classOf(id policy.ClassID, rules ...policy.HTTPRule) policy.Class {
	for i := range rules {
		if rules[i].ID == (policy.RuleID{}) {
			rules[i].ID = ruleID(fmt.Sprintf("spec.ingress[0].http[%d]", i))
		}
	}
	return policy.Class{ID: id, HTTP: rules}
}
