package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestMergedLimits: a class that a node makes of others has no more than one of the operator's,
// and the rule that there is no room for is named.
func TestMergedLimits(t *testing.T) {
	id := func(from string, i int) RuleID {
		return RuleID{Policy: Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: from}, Path: fmt.Sprintf("spec.%05d", i)}
	}
	for name, c := range map[string]struct {
		// fill gives a class so many rules that it has room for no more.
		fill func(from string) Class
		left func(Class) int
		most int
	}{
		"rules": {func(from string) (c Class) {
			for i := range MaxClassRules {
				c.HTTP = append(c.HTTP, HTTPRule{ID: id(from, i)})
			}
			return c
		}, func(c Class) int { return len(c.HTTP) }, MaxClassRules},
		"rates": {func(from string) (c Class) {
			for i := range MaxClassRates {
				c.HTTP = append(c.HTTP, HTTPRule{ID: id(from, i), Rate: Rate{Requests: 1, Burst: 1, Per: time.Second}})
			}
			return c
		}, func(c Class) int { return len(c.Rated()) }, MaxClassRates},
		"issuers": {func(from string) (c Class) {
			for i := range MaxTokenSources {
				c.HTTP = append(c.HTTP, HTTPRule{ID: id(from, i), JWT: &JWT{TokenSource: TokenSource{Issuer: fmt.Sprint(from, i), Keys: "{}"}}})
			}
			return c
		}, func(c Class) int { return len(c.TokenSources()) }, MaxTokenSources},
		"header actions": {func(from string) (c Class) {
			for i := range MaxHeaderActions / 2 {
				c.HTTP = append(c.HTTP, HTTPRule{ID: id(from, i), Headers: []HeaderMatch{{Name: fmt.Sprint("x-", from, i), Mismatch: MismatchDelete}}})
			}
			c.HTTP = append(c.HTTP, HTTPRule{ID: id(from, MaxHeaderActions), Headers: []HeaderMatch{{Name: "y-" + from, Mismatch: MismatchDelete}}})
			return c
		}, func(c Class) int { return len(c.HTTP) }, MaxHeaderActions},
		"server names": {func(from string) (c Class) {
			c.Kind = KindTLS
			for i := range MaxClassNames {
				c.TLS = append(c.TLS, TLSRule{ID: id(from, i), Names: []ServerName{ServerName(fmt.Sprint(from, i, ".example"))}})
			}
			return c
		}, func(c Class) int { return len(c.TLS) - 1 }, MaxClassNames},
		"Kafka": {func(from string) (c Class) {
			c.Kind = KindKafka
			for i := range MaxClassRules {
				c.Kafka = append(c.Kafka, KafkaRule{ID: id(from, i)})
			}
			return c
		}, func(c Class) int { return len(c.Kafka) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			one, two := c.fill("a"), c.fill("b")
			m := merger{classes: map[ClassID]Class{"one": one, "two": two}}
			got := m.classes[m.class([]Entry{{Class: "one"}, {Class: "two"}}, nil, nil)]
			if c.left(got) > c.most {
				t.Errorf("%d are left, and %d are possible", c.left(got), c.most)
			}
			if len(m.problems) == 0 || !strings.HasPrefix(m.problems[len(m.problems)-1].Message, "for an address that the DNS gave for several names: ") {
				t.Errorf("problems are %v", m.problems)
			}
			if same := (&merger{classes: map[ClassID]Class{"one": one, "two": one}}); c.left(same.classes[same.class([]Entry{{Class: "one"}, {Class: "two"}}, nil, nil)]) == 0 || len(same.problems) > 0 {
				t.Error("two of the same rules are too many")
			}
		})
	}
}
