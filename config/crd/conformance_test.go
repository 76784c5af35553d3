package crd_test

import (
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/septum-dev/septum/test/conformance"
)

// TestConformance refuses what the truth table says must not be stored (SEMANTICS 31 and 32).
func TestConformance(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	servers := kinds(t)
	seen := 0
	for _, c := range cases {
		for i, refused := range c.Refused {
			seen++
			got := strings.Join(admit(t, servers, txtar.File{Name: c.Name, Data: []byte(refused.Object)}), "\n")
			if got == "" || !strings.Contains(got, refused.Want) {
				t.Errorf("%s: object %d: got %q, want %q", c.Name, i+1, got, refused.Want)
			}
		}
	}
	if seen == 0 {
		t.Error("no case shows a refusal")
	}
}
