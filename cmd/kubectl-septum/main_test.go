package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/septum-dev/septum/api/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the expected output")

// run returns what the command prints, and how it ends.
func run(args ...string) string { return runWith(newSource(), args...) }

func runWith(src *source, args ...string) string {
	var out bytes.Buffer
	cmd := commandFor(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &out}, src)
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		out.WriteString("error: " + err.Error() + "\n")
	}
	return out.String()
}

func TestOutput(t *testing.T) {
	for name, args := range map[string]string{
		"can-i-allowed":    "can-i -f testdata/shop demo/frontend get http://backend/data",
		"can-i-denied":     "can-i -f testdata/shop demo/frontend post http://backend/data",
		"can-i-other":      "can-i -f testdata/shop deployment/third -n demo get http://backend/data",
		"can-i-json":       "can-i -f testdata/shop demo/frontend get http://backend/admin -o json",
		"can-i-header":     "can-i -f testdata/shop demo/third -H X-Role:admin get http://backend/admin",
		"can-i-grpc":       "can-i -f testdata/shop demo/frontend call grpc://backend:9000/shop.Cart/Add",
		"can-i-tcp":        "can-i -f testdata/shop demo/third connect tcp://backend:9000",
		"can-i-https":      "can-i -f testdata/shop demo/frontend get https://backend:80/data",
		"can-i-egress":     "can-i -f testdata/shop demo/caged get http://203.0.113.7/",
		"can-i-no-pod":     "can-i -f testdata/shop demo/nobody get http://backend/data",
		"can-i-no-url":     "can-i -f testdata/shop demo/frontend get backend/data",
		"can-i-no-port":    "can-i -f testdata/shop demo/frontend get http://backend:81/data",
		"explain":          "explain -f testdata/shop -n demo reads",
		"explain-audit":    "explain -f testdata/shop -n demo l7networkpolicy/caged",
		"explain-none":     "explain -f testdata/shop -n demo nothing",
		"explain-token":    "explain -f testdata/shop/app.yaml -f testdata/token -n demo tokens",
		"lint":             "lint -f testdata/shop",
		"lint-wrong":       "lint -f testdata/wrong",
		"test":             "test -f testdata/shop -f testdata/cases.yaml",
		"test-failing":     "test -f testdata/shop -f testdata/failing.yaml",
		"test-unknown-key": "test -f testdata/shop -f testdata/unknown.yaml",
		"test-none":        "test -f testdata/shop",
		"status-files":     "status -f testdata/shop",
		"complete-policy":  "__complete explain -f testdata/shop -n demo ca",
		"complete-pod":     "__complete can-i -f testdata/shop -n demo p",
		"complete-flag":    "__complete flows --verdict D",
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name, "$ kubectl septum "+args+"\n"+run(strings.Fields(args)...))
		})
	}
}

// golden compares with a file of testdata/output.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "output", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestStatus(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	all := []v1alpha1.L7PolicyStatus{
		{PolicyRef: v1alpha1.PolicyReference{Kind: "ClusterL7NetworkPolicy", Name: "all"}, Status: v1alpha1.L7PolicyStatusStatus{
			Mode: "Audit", Conditions: []metav1.Condition{{Type: v1alpha1.ConditionEnforced, Status: "False", Reason: "NodeUnreachable", Message: "node-2 is not connected"}},
			Problems: []v1alpha1.PolicyProblem{{Path: "spec.ingress[0]", Message: "closed"}},
		}},
		{PolicyRef: v1alpha1.PolicyReference{Kind: "CiliumNetworkPolicy", Namespace: "demo", Name: "reads"}, Status: v1alpha1.L7PolicyStatusStatus{
			Mode: "Enforce", SelectedPods: 2, Enforcing: "2/2", Allowed: 10, Denied: 3,
			LastDenial: &v1alpha1.Denial{Time: metav1.NewTime(now.Add(-90 * time.Second)), Summary: "demo/third -> demo/backend:80 GET /data"},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionEnforced, Status: "True"}, {Type: v1alpha1.ConditionDegraded, Status: "False"}},
		}},
	}
	var out bytes.Buffer
	if err := printStatus(&out, all, now); err != nil {
		t.Fatal(err)
	}
	want := `POLICY                           MODE      PODS   ENFORCING   ALLOWED   DENIED   AUDITED   LAST DENIAL
ClusterL7NetworkPolicy/all       Audit     0                  0         0        0         <none>
demo/CiliumNetworkPolicy/reads   Enforce   2      2/2         10        3        0         90s ago: demo/third -> demo/backend:80 GET /data

ClusterL7NetworkPolicy/all: Enforced=False, NodeUnreachable: node-2 is not connected
  spec.ingress[0]: closed
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}
