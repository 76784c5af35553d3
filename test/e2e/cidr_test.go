//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/enforcer/netns"
)

// outside is the world to the cluster's pods: the control plane's namespace, with the address
// that a policy names and another one, of both families.
type outside struct {
	ns           *os.File
	named, other families
}

func newOutside(t *testing.T) outside {
	t.Helper()
	if !hasIPv6() {
		t.Skip("this machine has no IPv6")
	}
	o := outside{named: families{"10.99.0.200", "fd00:10:99::200"}, other: families{"10.99.0.201", "fd00:10:99::201"}}
	for i, addrs := range [][]string{{o.named[0] + "/24", o.other[0] + "/24"}, {o.named[1] + "/64", o.other[1] + "/64"}} {
		for _, addr := range addrs {
			args := []string{"ip", "addr", "add", addr, "dev", "br0"}
			if i == 1 {
				args = append(args, "nodad")
			}
			if out, err := inControlPlane(args...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s", args, err, out)
			}
			t.Cleanup(func() {
				if out, err := inControlPlane("ip", "addr", "del", addr, "dev", "br0").CombinedOutput(); err != nil {
					t.Errorf("remove %s: %v: %s", addr, err, out)
				}
			})
		}
	}
	var err error
	if o.ns, err = os.Open("/run/netns/" + clusterName + "-cp"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.ns.Close() })
	return o
}

// get is a request from an address out there; it returns the answer, or "no answer".
func (o outside) get(from, url string) string {
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = netns.Do(o.ns, func() (err error) {
			d := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			conn, err = d.DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		return "no answer: " + err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "no answer: " + err.Error()
	}
	return fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(body)))
}

// serve answers on all addresses out there with the client's.
func (o outside) serve(t *testing.T, port string) {
	t.Helper()
	var lis net.Listener
	err := netns.Do(o.ns, func() (err error) {
		lis, err = net.Listen("tcp", ":"+port)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "outside: %s from %s\n", r.URL.Path, host)
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// TestCIDRs has addresses of the world named by policies, in both directions and families.
func TestCIDRs(t *testing.T) {
	c := here()
	c.clear(t)
	o := newOutside(t)
	pod := c.podAddresses(t, "app=backend-app")
	c.apply(t, "cnp.from-cidr", `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: from-cidr, namespace: demo}
spec:
  endpointSelector: {matchLabels: {app: backend-app}}
  ingress:
  - fromCIDR: [10.99.0.200/32, "fd00:10:99::200/128"]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: GET, path: /data}]}
`)
	for family, addr := range pod {
		url := "http://" + at(addr, "80")
		for _, test := range []struct{ from, path, want string }{
			{o.named[family], "/data", "from " + o.named[family]},
			{o.named[family], "/other", "403 Access denied"},
			{o.other[family], "/data", "no answer"},
		} {
			within(t, 20*time.Second, func() string {
				if got := o.get(test.from, url+test.path); !strings.Contains(got, test.want) {
					return fmt.Sprintf("%s → %s%s: want %q, got %q", test.from, url, test.path, test.want, got)
				}
				return ""
			})
		}
	}
	o.serve(t, "8080")
	c.applyMore(t, "cnp.to-cidr", `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: to-cidr, namespace: demo}
spec:
  endpointSelector: {matchLabels: {app: frontend-app}}
  egress:
  - toCIDR: [10.99.0.200/32, "fd00:10:99::200/128"]
    toPorts:
    - ports: [{port: "8080", protocol: TCP}]
      rules: {http: [{method: GET, path: /data}]}
`)
	for family := range o.named {
		for _, from := range []string{"frontend-app", "frontend-remote"} {
			own := c.podAddresses(t, "client="+from)[family]
			c.holdAll(t, []visit{
				{from, at(o.named[family], "8080"), "/data", "200 " + own},
				{from, at(o.named[family], "8080"), "/other", "403"},
				{from, at(o.other[family], "8080"), "/data", "none"},
			})
		}
	}
}
