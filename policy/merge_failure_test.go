package policy

import "testing"

// TestMergedFailure: a class made of others fails open only if all of them do.
func TestMergedFailure(t *testing.T) {
	m := merger{classes: map[ClassID]Class{"open": {ID: "open", Failure: FailOpen}, "too": {ID: "too", Failure: FailOpen}, "closed": {ID: "closed"}}}
	for _, c := range []struct {
		of   []ClassID
		want Failure
	}{{[]ClassID{"open", "closed"}, FailClosed}, {[]ClassID{"closed", "open"}, FailClosed}, {[]ClassID{"open", "too"}, FailOpen}} {
		id := m.class([]Entry{{Class: c.of[0]}, {Class: c.of[1]}}, nil, nil)
		if got := m.classes[id].Failure; got != c.want {
			t.Errorf("%v: %d, want %d", c.of, got, c.want)
		}
	}
}
