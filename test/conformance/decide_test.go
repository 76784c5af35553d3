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
				decide(t, c.Node(check.Node), check)
			}
			if c.After == nil {
				return
			}
			for _, check := range c.After.Requests {
				if check.Cut {
					cut(t, c, check)
					continue
				}
				decide(t, c.After.Node(check.Node), check)
			}
		})
	}
}

func decide(t *testing.T, np policy.NodePolicy, check Check) {
	t.Helper()
	d := policy.Decide(np, check.Request)
	if d.Verdict != check.Want || check.HasRule && d.Rule.Path != check.Rule {
		t.Errorf("%s\n got verdict %d by %q (%s)", check.Line, d.Verdict, d.Rule.Path, d.Reason)
	}
	if len(check.Headers) == 0 {
		return
	}
	n := slices.IndexFunc(np.Classes, func(c policy.Class) bool { return c.ID == d.Class })
	if n < 0 {
		t.Fatalf("%s: no class", check.Line)
	}
	header, _ := np.Reveal(np.Classes[n]).Pass(*check.Request.HTTP)
	for name, want := range check.Headers {
		if !slices.Equal(header[name], want) {
			t.Errorf("%s\n the server gets %s: %q", check.Line, name, header[name])
		}
	}
}

// cut shows why a connection cannot go on: nothing allows it any longer, or other rules than
// those of its listener would have to judge what it says.
func cut(t *testing.T, c Case, check Check) {
	t.Helper()
	request := check.Request
	request.HTTP = nil
	before, after := policy.Decide(c.Node(check.Node), request), policy.Decide(c.After.Node(check.Node), request)
	if after.Verdict != policy.Denied && (after.Verdict != policy.Redirected || after.Class == before.Class) {
		t.Errorf("%s\n the connection can go on: %+v, then %+v", check.Line, before, after)
	}
}

// TestSemanticsCovered holds that the table shows every line of what policies mean.
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
	for n := 1; n <= 34; n++ {
		if slices.Contains(waiting(), n) {
			continue
		}
		if !shown[n] {
			t.Errorf("no case shows line %d", n)
		}
	}
}

// waiting are the lines that the table has no requests of: 26 is about restarts and TCP, which
// test/attack shows, 30 about how Kafka's requests are encoded, which enforcer/proxy/kafka tests.
func waiting() []int { return []int{26, 30} }

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
