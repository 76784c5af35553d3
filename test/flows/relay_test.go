package flows

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/relay"
	"github.com/septum-dev/septum/xds"
)

// TestRelay has the real CLI read two nodes at once through the operator's relay, with the
// certificates that the operator issues.
func TestRelay(t *testing.T) {
	one, addressOne := server(t)
	two, addressTwo := server(t)
	_ = one
	two.Add(request("10.0.0.1:1003", policy.Forwarded, "GET", "/later", 200, -time.Minute), nil)
	ca, err := xds.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	data, err := ca.ReaderData(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range data {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secured := &xds.FlowTLS{Authority: func() *xds.CA { return ca }, Names: []string{"relay.test"}, Now: time.Now}
	r, err := relay.New(relay.Config{
		Nodes: func(context.Context) ([]relay.Node, error) {
			return []relay.Node{{Name: "node1", Address: addressOne}, {Name: "node2", Address: addressTwo}}, nil
		},
		Credentials: func(string) credentials.TransportCredentials { return insecure.NewCredentials() },
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := flow.ListenLoopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, r, l, secured)
	tls := []string{"--tls", "--tls-server-name", "relay.test", "--tls-ca-cert-files", filepath.Join(dir, xds.KeyBundle)}
	client := append(tls, "--tls-client-cert-file", filepath.Join(dir, xds.KeyCertificate), "--tls-client-key-file", filepath.Join(dir, xds.KeyPrivate))
	address := l.Addr().String()

	got := lines(run(t, address, append([]string{"observe", "-o", "compact", "--http-path", "/(old|later)", "--http-method", "GET"}, client...)...))
	later := strings.ReplaceAll(strings.ReplaceAll(getRequest+"\n"+getResponse, ":1000", ":1003"), "/data", "/later")
	want := strings.Join([]string{oldRequest, oldRequest, oldResponse, oldResponse, later}, "\n")
	if got != want {
		t.Errorf("it prints\n%s\nand should print\n%s", got, want)
	}
	if out := run(t, address, append([]string{"status"}, client...)...); !strings.Contains(out, "Connected Nodes: 2/2") || !strings.Contains(out, "Current/Max Flows: 14/8,192") {
		t.Errorf("the status is\n%s", out)
	}
	if out := run(t, address, append([]string{"list", "nodes"}, client...)...); !strings.Contains(out, "node1") || !strings.Contains(out, "node2") {
		t.Errorf("the nodes are\n%s", out)
	}
	if out, err := hubble(t, address, append([]string{"observe", "--last", "1"}, tls...)...).CombinedOutput(); err == nil {
		t.Errorf("without a certificate it prints %s", out)
	}
}

func serve(t *testing.T, r *relay.Relay, l net.Listener, secured *xds.FlowTLS) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, l, credentials.NewTLS(secured.Server())) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the relay ended with %v", err)
		}
	})
}
