package envoy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// updates is what Envoy says of what it was given: how often, and when last.
func (e *realEnvoy) updates(t *testing.T) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", e.admin)
	}}}
	defer client.CloseIdleConnections()
	out := ""
	for _, page := range []struct{ path, holds string }{
		{"/stats?filter=update_success|update_rejected|update_attempt", "lds.update_success"}, {"/config_dump", `"last_updated"`},
	} {
		code, text := get(t, client, "GET", "http://envoy"+page.path)
		if code != http.StatusOK || !strings.Contains(text, page.holds) {
			t.Fatalf("%s: %d %q", page.path, code, text)
		}
		for line := range strings.Lines(text) {
			if strings.Contains(line, "_attempt") || strings.Contains(line, "_success") || strings.Contains(line, "last_updated") {
				out += line
			}
		}
	}
	return out
}

// TestPodsSendEnvoyNothing has pods of a known class come, go and move: a real Envoy is not
// given a single update, while an edited rule gives it one.
func TestPodsSendEnvoyNothing(t *testing.T) {
	e := startEnvoy(t, echo(t, hello))
	ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: "shop", Name: "api"}
	app := func(name string) policy.Labels { return policy.Labels{"k8s:app": name, policy.LabelNamespace: "shop"} }
	selects := func(name string) policy.Selector {
		return policy.Selector{Requirements: []policy.Requirement{{Key: "k8s:app", Operator: policy.In, Values: []string{name}}}}
	}
	pods := func(path string, counts ...int) policy.Snapshot {
		client := selects("client")
		id := policy.RuleID{Policy: ref, Path: "spec.ingress[0]"}
		s := policy.Snapshot{
			Nodes: []policy.Node{{Name: "n1", Addrs: []netip.Addr{netip.MustParseAddr("172.18.0.1")}}},
			Policies: []policy.Policy{{Ref: ref, UID: "u", Generation: 1, Specs: []policy.Spec{{Path: "spec", Subject: selects("server"),
				Ingress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{{ID: id, Peers: []policy.Peer{{Selector: &client}},
					Ports: []policy.Port{{Protocol: policy.ProtocolTCP, Port: 80}},
					L7:    &policy.HTTP{Rules: []policy.HTTPRule{{ID: policy.RuleID{Policy: ref, Path: "spec.ingress[0].http[0]"}, Path: exact(path)}}}}}}}}}},
		}
		for kind, name := range []string{"server", "client"} {
			for i := range counts[kind] {
				s.Endpoints = append(s.Endpoints, policy.Endpoint{Key: fmt.Sprintf("shop/%s-%d", name, i), UID: fmt.Sprint(name, i), Node: "n1",
					Identity: policy.FirstClusterIdentity + policy.Identity(kind), Labels: app(name), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(kind), byte(i + 1)})}})
			}
		}
		return s
	}
	apply := func(s policy.Snapshot) {
		t.Helper()
		np := policy.Resolve(s, "n1")
		if len(np.Classes) != 1 {
			t.Fatalf("%d classes", len(np.Classes))
		}
		set, _ := e.setFor(t, np.Classes...)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := e.server.Apply(ctx, set); err != nil {
			t.Fatal(err)
		}
	}
	apply(pods("/a", 1, 1))
	before := e.updates(t)
	for _, counts := range [][]int{{2, 1}, {2, 50}, {50, 50}, {1, 1}, {3, 2}} {
		apply(pods("/a", counts...))
	}
	if after := e.updates(t); after != before {
		t.Errorf("Envoy was given something for pods:\n%s\nbefore:\n%s", after, before)
	}
	apply(pods("/b", 3, 2))
	waitFor(t, "an edited rule to give Envoy something: or the count shows nothing", func() bool { return e.updates(t) != before })
}
