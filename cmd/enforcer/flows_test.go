package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/policy"
)

func TestFlowsArePrinted(t *testing.T) {
	flows, err := flow.New(flow.Config{Node: "node1"})
	if err != nil {
		t.Fatal(err)
	}
	flows.Know(policy.NodePolicy{Addresses: []policy.Address{
		{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Identity: 300, Namespace: "shop", Pod: "client"},
		{Prefix: netip.MustParsePrefix("10.0.0.2/32"), Identity: 301, Namespace: "demo", Pod: "server"},
	}})
	add := func(src string, v policy.Verdict, reason string) {
		flows.Add(policy.Event{
			Time: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC), Verdict: v, DropReason: reason, Protocol: policy.ProtocolTCP,
			Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort("10.0.0.3:80"),
		}, nil)
	}
	add("10.0.0.1:1000", policy.Forwarded, "")
	add("10.0.0.2:2000", policy.Denied, "no-listener")
	socket := filepath.Join(t.TempDir(), "hubble.sock")
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	serveFlows(ctx, g, logr.Discard(), options{flowSocket: socket}, flows, nil)
	defer func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}()
	const (
		allowed = "Mar  4 12:00:00.000: shop/client:1000 (ID:300) -> 10.0.0.3:80 (world) policy-verdict:none INGRESS ALLOWED (TCP)\n"
		dropped = "Mar  4 12:00:00.000: demo/server:2000 (ID:301) -> 10.0.0.3:80 (world) Socket lookup failed DROPPED (TCP)\n"
	)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"all":               {nil, allowed + dropped},
		"the last":          {[]string{"--last", "1"}, dropped},
		"a namespace":       {[]string{"--namespace", "shop"}, allowed},
		"a verdict":         {[]string{"--verdict", "dropped"}, dropped},
		"both":              {[]string{"--namespace", "shop", "--verdict", "DROPPED"}, ""},
		"another namespace": {[]string{"--namespace", "sho"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := read(t, append(c.args, "--socket", socket)); got != c.want {
				t.Errorf("it prints\n%sand should print\n%s", got, c.want)
			}
		})
	}
	t.Run("JSON", func(t *testing.T) {
		lines := strings.Split(strings.TrimSpace(read(t, []string{"-o", "json", "--socket", socket})), "\n")
		var one struct {
			Flow struct {
				Verdict string
				Source  struct {
					Pod string `json:"pod_name"`
				}
			}
		}
		if err := json.Unmarshal([]byte(lines[0]), &one); err != nil || len(lines) != 2 || one.Flow.Verdict != "FORWARDED" || one.Flow.Source.Pod != "client" {
			t.Errorf("the first of %d lines is %s, %v", len(lines), lines[0], err)
		}
	})
}

func read(t *testing.T, args []string) string {
	t.Helper()
	o, err := parseRead(args)
	if err != nil {
		t.Fatal(err)
	}
	// The socket may come a moment later.
	for range 500 {
		var out bytes.Buffer
		if err = readFlows(t.Context(), &out, o); err == nil {
			return out.String()
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(err)
	return ""
}

func TestWrongArgumentsOfFlows(t *testing.T) {
	for _, args := range [][]string{{"-o", "yaml"}, {"--verdict", "maybe"}, {"--last", "-1"}, {"demo"}} {
		if _, err := parseRead(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

func TestFlowsWithoutAnEnforcer(t *testing.T) {
	err := readFlows(t.Context(), &bytes.Buffer{}, readOptions{socket: filepath.Join(t.TempDir(), "none")})
	if err == nil {
		t.Error("there is nobody, and no error")
	}
}
