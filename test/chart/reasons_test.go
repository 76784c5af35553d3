package chart

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const (
	rightsFile  = "../../docs/security.md"
	rightsBegin = "<!-- rights: made from the chart by go test ./test/chart -update -->\n"
	rightsEnd   = "<!-- end of rights -->\n"
)

// role is what is read of a Role or ClusterRole.
type role struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Rules    []yaml.Node
}

type rule struct {
	APIGroups     []string `yaml:"apiGroups"`
	Resources     []string
	ResourceNames []string `yaml:"resourceNames"`
	Verbs         []string
}

// TestRights holds that each right that the chart gives has a reason, in the comment above it, and that
// docs/security.md has them all; -update writes it.
func TestRights(t *testing.T) {
	out, err := helm(t, "template", "septum", chartDir, "--namespace", "septum-system",
		"--set-json", `secrets.readable=[{"namespace":"demo","names":["web-tls"]}]`)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, out)
	}
	var rows []string
	decoder := yaml.NewDecoder(strings.NewReader(out))
	for {
		var r role
		if err := decoder.Decode(&r); err != nil {
			break
		}
		if r.Kind == "Role" || r.Kind == "ClusterRole" {
			rows = append(rows, rightsOf(t, r)...)
		}
	}
	if len(rows) < 15 {
		t.Fatalf("only %d rights are found:\n%s", len(rows), strings.Join(rows, ""))
	}
	// By who has them; those of one in the order of the chart.
	slices.SortStableFunc(rows, func(a, b string) int { return strings.Compare(strings.Split(a, "|")[1], strings.Split(b, "|")[1]) })
	table := "| who | where | may | why |\n|---|---|---|---|\n" + strings.Join(rows, "")
	text, err := os.ReadFile(rightsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(rightsBegin))
	_, after, found := bytes.Cut(rest, []byte(rightsEnd))
	if !ok || !found {
		t.Fatalf("%s has no lines %q and %q", rightsFile, rightsBegin, rightsEnd)
	}
	want := string(before) + rightsBegin + table + rightsEnd + string(after)
	if *update {
		if err := os.WriteFile(rightsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("%s has not the chart's rights; run \"make golden\" (-want +got):\n%s", rightsFile, diff)
	}
}

// rightsOf is a row for each rule of a role, whose name is that of the account which has it.
func rightsOf(t *testing.T, r role) []string {
	t.Helper()
	where := "the cluster"
	if r.Kind == "Role" {
		where = "`" + r.Metadata.Namespace + "`"
	}
	var rows []string
	for _, node := range r.Rules {
		var rights rule
		if err := node.Decode(&rights); err != nil {
			t.Fatal(err)
		}
		reason := commentOf(&node)
		if reason == "" {
			t.Errorf("%s %s: %s of %s has no reason: write it in a comment above the rule", r.Kind, r.Metadata.Name, rights.Verbs, rights.Resources)
		}
		names := ""
		if len(rights.ResourceNames) > 0 {
			names = " `" + strings.Join(rights.ResourceNames, "`, `") + "`"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s: %s%s | %s |\n", r.Metadata.Name, where,
			strings.Join(rights.Verbs, ", "), strings.Join(rights.Resources, ", "), names, reason))
	}
	return rows
}
