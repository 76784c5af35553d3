//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

func TestRefusals(t *testing.T) {
	c := here()
	cilium, native := c.sample(t, "allow-get-data.yaml"), c.sample(t, "allow-get-data-native.yaml")
	for _, test := range []struct {
		name, policy, old, new string
		want                   []string
	}{
		{
			"as published, with a typographic quote", c.sample(t, "announcement-as-published.yaml"), "", "",
			[]string{"error converting YAML to JSON", "line 22"},
		},
		{
			"the typographic quote inside straight ones", cilium, `"80"`, `"80”"`,
			[]string{"spec.ingress[0].toPorts[0].ports[0].port", `Invalid value: "80”"`},
		},
		{
			"unknown field of a rule", cilium, "method: GET", "metod: GET",
			[]string{`unknown field "spec.ingress[0].toPorts[0].rules.http[0].metod"`},
		},
		{
			"unknown field of an ingress", cilium, "fromEndpoints", "fromEndpoint",
			[]string{`unknown field "spec.ingress[0].fromEndpoint"`},
		},
		{
			"port 0 with HTTP rules", cilium, `"80"`, `"0"`,
			[]string{"spec.ingress[0].toPorts[0].ports[0].port", `Invalid value: "0"`},
		},
		{
			"bad expression", cilium, "path: /data", `path: "/data("`,
			[]string{"spec.ingress[].toPorts[].rules.http[].path: Invalid value", "missing closing ): `/data(`"},
		},
		{
			"native: unknown field", native, "methods:", "metods:",
			[]string{`unknown field "spec.ingress[0].http[0].metods"`},
		},
		{
			"native: port 0", native, "port: 80", "port: 0",
			[]string{"spec.ingress[0].ports[0].port", "Invalid value: 0"},
		},
		{
			"native: bad expression", native, "exact: /data", `regex: "/data("`,
			[]string{"spec.ingress[0].http[0].path.regex", "missing closing )"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			policy := strings.Replace(test.policy, test.old, test.new, 1)
			if test.old != "" && policy == test.policy {
				t.Fatalf("the sample has no %q", test.old)
			}
			out, err := c.tool(policy, "kubectl", "apply", "-n", "demo", "-f", "-")
			if err == nil {
				c.kubectl(t, "-n", "demo", "delete", "ciliumnetworkpolicy,l7networkpolicy", "--all")
				t.Fatalf("it was admitted: %s", out)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("the message has no %q:\n%s", want, out)
				}
			}
		})
	}
}

// A client can switch the API server's field validation off. What it stores then must be
// closed, never read as the wider policy that is left without the field.
func TestUnknownFieldIsNeverOpen(t *testing.T) {
	c := here()
	cilium, native := c.sample(t, "allow-get-data.yaml"), c.sample(t, "allow-get-data-native.yaml")
	for _, test := range []struct{ name, policy, old, new string }{
		{"rule", cilium, "method: GET", "metod: GET"},
		{"peer", cilium, "fromEndpoints", "fromEndpoint"},
		{"rules", cilium, "http:", "htttp:"},
		{"native rule", native, "methods:", "metods:"},
		{"native peer", native, "from:", "fromm:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Cleanup(func() { c.clear(t) })
			policy := strings.Replace(test.policy, test.old, test.new, 1)
			if out, err := c.tool(policy, "kubectl", "apply", "--validate=false", "-f", "-"); err != nil {
				t.Logf("refused: %s", out)
				return
			}
			within(t, 20*time.Second, func() string { return c.check(t, request{"other-app", "GET", "/data", "none"}) })
			for _, r := range []request{
				{"frontend-app", "POST", "/data", ""}, {"frontend-remote", "POST", "/data", ""},
				{"other-app", "POST", "/data", ""}, {"other-remote", "GET", "/data", ""},
			} {
				out, _ := c.tool("", "kubectl", "-n", "demo", "exec", "deployment/"+r.client, "--",
					"/septum-demo", "get", "-timeout", "1s", "-X", r.method, "http://backend-app"+r.path)
				if strings.HasPrefix(out, "200") {
					t.Errorf("%s is open: %s", r, out)
				}
			}
		})
	}
}
