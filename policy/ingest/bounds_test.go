package ingest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/septum-dev/septum/policy"
)

// TestHeaderBounds writes headers that no node would take: the rule is closed, and named.
func TestHeaderBounds(t *testing.T) {
	for name, c := range map[string]struct {
		headers string
		path    string
	}{
		"a long value": {fmt.Sprintf("[%q]", "X-A: "+strings.Repeat("v", maxHeaderValue+1)), "headers[0]"},
		"a long name":  {fmt.Sprintf("[%q]", strings.Repeat("x", maxHeaderName+1)), "headers[0]"},
		"many":         {"[" + strings.Repeat("X-A, ", maxHeaders) + "X-B]", "headers"},
		"as many":      {"[" + strings.Repeat("X-A, ", maxHeaders-1) + "X-B]", ""},
	} {
		o, err := objectsOf([]byte(`apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: demo}
spec:
  endpointSelector: {}
  ingress:
  - fromEndpoints: [{}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{path: /ok}, {headers: ` + c.headers + `}]}
`))
		if err != nil {
			t.Fatal(err)
		}
		s, problems := Snapshot(o)
		http, ok := s.Policies[0].Specs[0].Ingress.Rules[0].L7.(*policy.HTTP)
		if !ok {
			t.Fatalf("%s: no HTTP rules", name)
		}
		const at = "spec.ingress[0].toPorts[0].rules.http[1]."
		switch {
		case c.path == "" && (len(problems) != 0 || len(http.Rules) != 2):
			t.Errorf("%s: %d rules, %v", name, len(http.Rules), problems)
		case c.path != "" && (len(problems) != 1 || problems[0].Path != at+c.path || len(http.Rules) != 1):
			t.Errorf("%s: %d rules, %v", name, len(http.Rules), problems)
		}
	}
}
