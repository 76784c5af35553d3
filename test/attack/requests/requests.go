// Package requests holds the attacks on HTTP policies as values: the rules, what a client
// writes on a connection, and what must come of it. They are run against Envoy alone, and
// through a whole node against several servers.
package requests

import "github.com/septum-dev/septum/policy"

// Table is attacks on one class of rules.
type Table struct {
	// Section is the heading that the attacks stand under, Name says what the rules are.
	Section, Name string
	Rules         []policy.HTTPRule
	Cases         []Case
}

// Case is one connection.
type Case struct {
	Name string
	// Request is what the client writes, Method the method of its first request.
	Request, Method string
	// Codes are the statuses that the client reads; 0 is the end of the connection.
	Codes []int
	// Arrives is what the server must get, request by request and byte for byte. A denied
	// request is not among them.
	Arrives []string
}

// Tables are all tables.
func Tables() []Table {
	return []Table{paths(), deniedPaths(), headers(), smuggling(), transparency()}
}

// Denied is true if the server must see nothing of the case.
func (c Case) Denied() bool { return len(c.Arrives) == 0 }

func get(name, target string, code int, forwarded string) Case {
	c := Case{Name: name, Method: "GET", Request: line(target), Codes: []int{code}}
	if forwarded != "" {
		c.Arrives = []string{line(forwarded)}
	}
	return c
}

func line(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n" }

func exact(s string) policy.StringMatch { return policy.StringMatch{Kind: policy.MatchExact, Value: s} }

func prefix(s string) policy.StringMatch {
	return policy.StringMatch{Kind: policy.MatchPrefix, Value: s}
}

func regex(s string) policy.StringMatch { return policy.StringMatch{Kind: policy.MatchRegex, Value: s} }

func matches(m ...policy.StringMatch) []policy.StringMatch { return m }
