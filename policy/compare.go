package policy

import "cmp"

// CompareRefs orders policies by kind, namespace and name.
func CompareRefs(a, b Ref) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// CompareRuleIDs orders rules by their policy, and in it by path as in the YAML:
// "ingress[10]" comes after "ingress[9]".
func CompareRuleIDs(a, b RuleID) int {
	return cmp.Or(CompareRefs(a.Policy, b.Policy), comparePaths(a.Path, b.Path), cmp.Compare(a.Name, b.Name))
}

// comparePaths compares runs of digits as numbers.
func comparePaths(a, b string) int {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		if !isDigit(a[i]) || !isDigit(b[j]) {
			if a[i] != b[j] {
				return cmp.Compare(a[i], b[j])
			}
			i++
			j++
			continue
		}
		x, y := digits(a[i:]), digits(b[j:])
		// Indexes have no leading zeros: the longer run is the larger number.
		if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
			return c
		}
		i += len(x)
		j += len(y)
	}
	return cmp.Compare(len(a)-i, len(b)-j)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func digits(s string) string {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return s[:n]
}

// CompareEntries orders entries by Identity, Protocol, Port and PrefixLen.
func CompareEntries(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Identity, b.Identity), cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.Port, b.Port), cmp.Compare(a.PrefixLen, b.PrefixLen))
}

// CompareAddresses orders addresses by their prefix: IPv4 first, then by address and length.
func CompareAddresses(a, b Address) int {
	return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
}
