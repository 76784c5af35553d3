package policy

import "net/netip"

// DecideNaively is the second reading of the rules, for tests from outside the package.
func DecideNaively(s Snapshot, learnt []Learnt, req Request) Verdict {
	return decideNaively(s, learnt, req)
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// InRow is how many changes were worked out alone since the last whole compile.
func (k *Compiler) InRow() int { return k.inRow }
