package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/policy"
)

func TestExportFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--otlp-address=collector":      "is not host:port",
		"--otlp-plaintext":              "without otlp-address",
		"--otlp-ca-file=/x":             "without otlp-address",
		"--otlp-address=collector:4317": "",
		"--otlp-address=[2001:db8::1]:4317 --flow-log=/var/log/septum/flows.json": "",
	} {
		_, _, err := parse(append(strings.Fields(args), "--node-name=n"))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// What the flags ask for is written, and ends with the enforcer.
func TestExportToAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows.json")
	o, _, err := parse([]string{"--node-name=n", "--flow-log=" + path})
	if err != nil {
		t.Fatal(err)
	}
	flows, err := flow.New(flow.Config{Node: "n"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	exportFlows(ctx, g, logr.Discard(), o.export, "n", flows, func(int) {})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		flows.Add(policy.Event{Verdict: policy.Denied, DropReason: "policy"}, nil) // it may not listen yet
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "DROPPED") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no flow is written")
		}
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}
