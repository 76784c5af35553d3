package conformance

import (
	"slices"
	"testing"

	"github.com/septum-dev/septum/policy"
)

// TestDecide runs the table through the oracle.
func TestDecide(t *testing.T) {
	all, err := Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			var problems []string
			for _, p := range c.Problems {
				text := string(p.Reason) + " " + p.Path
				if p.Warning {
					text = "warning " + text
				}
				if !p.Warning || slices.Contains(c.WantProblems, text) {
					problems = append(problems, text)
				}
			}
			slices.Sort(problems)
			if !slices.Equal(problems, c.WantProblems) {
				t.Errorf("problems %q, want %q\n%+v", problems, c.WantProblems, c.Problems)
			}
			for _, check := range c.Requests {
				d := policy.Decide(c.Node(check.Node), check.Request)
				if d.Verdict != check.Want || check.HasRule && d.Rule.Path != check.Rule {
					t.Errorf("%s\n got verdict %d by %q (%s)", check.Line, d.Verdict, d.Rule.Path, d.Reason)
				}
				if len(check.Headers) == 0 {
					continue
				}
				classes := c.Node(check.Node).Classes
				n := slices.IndexFunc(classes, func(c policy.Class) bool { return c.ID == d.Class })
				if n < 0 {
					t.Fatalf("%s: no class", check.Line)
				}
				header, _ := c.Node(check.Node).Reveal(classes[n]).Pass(*check.Request.HTTP)
				for name, want := range check.Headers {
					if !slices.Equal(header[name], want) {
						t.Errorf("%s\n the server gets %s: %q", check.Line, name, header[name])
					}
				}
			}
		})
	}
}

// TestSemanticsCovered keeps the lines that HTTP and layers 3 and 4 can show in the table.
func TestSemanticsCovered(t *testing.T) {
	all, err := Cases()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[int]bool{}
	for _, c := range all {
		for _, n := range c.Semantics {
			shown[n] = true
		}
	}
	// 4 needs a second L7 kind, 7 and 20 a connection: other tests show them.
	for _, n := range []int{1, 2, 3, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 22, 31, 33} {
		if !shown[n] {
			t.Errorf("no case shows line %d", n)
		}
	}
}

// TestParseRefuses holds that a case which says nothing, or something unknown, is no case.
func TestParseRefuses(t *testing.T) {
	const good = "SEMANTICS 1\n-- cluster --\nnode n1 ip=172.18.0.2\npod demo/a node=n1 ip=10.0.0.1\n-- requests --\n"
	if _, err := Parse("good", []byte(good+"ingress node:n1 -> demo/a tcp/80 => forwarded\n")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no header":         "-- requests --\n",
		"no requests":       good,
		"unknown verdict":   good + "ingress node:n1 -> demo/a tcp/80 => maybe\n",
		"unknown word":      good + "ingress node:n1 -> demo/a tcp/80 => denied by=x\n",
		"unknown end":       good + "ingress demo/b -> demo/a tcp/80 => denied\n",
		"no judge":          good + "ingress demo/a -> 8.8.8.8 tcp/80 => denied\n",
		"unknown part":      good + "ingress node:n1 -> demo/a tcp/80 => denied\n-- polices.yaml --\n",
		"unknown direction": good + "both node:n1 -> demo/a tcp/80 => denied\n",
		"header case":       good + "ingress node:n1 -> demo/a tcp/80 GET / header=X:y => denied\n",
	} {
		if _, err := Parse(name, []byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
