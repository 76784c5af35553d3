package bench

import "testing"

// A table says itself when its figures prove nothing.
func TestInvalid(t *testing.T) {
	at := func(v float64) control { return control{"direct beside itself", interval{v, v, v}, 2} }
	for _, c := range []struct {
		controls []control
		want     string
	}{
		{[]control{at(1.02), at(0.98)}, ""},
		{[]control{at(1), at(1.07)}, "**The run is not valid**: direct beside itself differs by 7 %, and 2 % is the most that it may."},
		{[]control{at(0.9)}, "**The run is not valid**: direct beside itself differs by 10 %, and 2 % is the most that it may."},
		{nil, "**The run is not valid**: nothing was measured beside itself."},
	} {
		if got := (&bench{controls: c.controls}).invalid(); got != c.want {
			t.Errorf("%v: %q, want %q", c.controls, got, c.want)
		}
	}
}
