package policy

import (
	"cmp"
	"fmt"
	"slices"
)

// MaxTokenSources is how many different issuers, sets of keys and headers the rules of one class can
// ask for tokens of: the signature of a request's token is verified for each.
const MaxTokenSources = 8

// JWT is a condition on a JSON Web Token: the request carries a valid one from the source, and
// all claims hold. Allow rules alone have it: a client that is denied for what is in its token
// would leave the token out.
type JWT struct {
	TokenSource
	Claims []Claim
}

// TokenSource says which tokens are valid: in time, of the issuer, and signed by one of its keys.
type TokenSource struct {
	// Issuer is the claim iss.
	Issuer string
	// Keys are the issuer's public keys, of asymmetric algorithms alone: a JSON Web Key Set.
	Keys string
	// Header is the header that is the token, in lower case; "" is Authorization with "Bearer ".
	Header string
}

// Claim is a condition on one claim: a string that matches one of the values, or a list with
// such a string in it. No number, boolean or null is like a string.
type Claim struct {
	// Path are the names that lead to the claim, through objects in objects.
	Path []string
	// Values are alternatives.
	Values []StringMatch
}

// Token is a token that is valid, as a proxy has found it in a request.
type Token struct {
	TokenSource
	// Claims are as JSON says them: strings, float64, bool, nil, []any and map[string]any.
	Claims map[string]any
}

// holds says whether one of the request's tokens is from the source and has the claims. A
// header that comes twice is no token.
func (j *JWT) holds(req HTTPRequest) bool {
	return j == nil || slices.ContainsFunc(req.Tokens, func(t Token) bool { return t.TokenSource == j.TokenSource && j.claimed(t) })
}

func (j *JWT) claimed(t Token) bool {
	return !slices.ContainsFunc(j.Claims, func(c Claim) bool { return !c.holds(t.Claims) })
}

func (c Claim) holds(claims map[string]any) bool {
	var at any = claims
	for _, name := range c.Path {
		object, ok := at.(map[string]any)
		if !ok {
			return false
		}
		at = object[name]
	}
	if text, ok := at.(string); ok {
		return c.has(text)
	}
	list, _ := at.([]any)
	return slices.ContainsFunc(list, func(v any) bool { text, ok := v.(string); return ok && c.has(text) })
}

func (c Claim) has(text string) bool {
	return slices.ContainsFunc(c.Values, func(m StringMatch) bool { return m.holds(text, false) })
}

// whyNot says which condition on the token does not hold.
func (j *JWT) whyNot(req HTTPRequest) string {
	n := slices.IndexFunc(req.Tokens, func(t Token) bool { return t.TokenSource == j.TokenSource })
	if n < 0 {
		return fmt.Sprintf("there is no valid token of the issuer %q", j.Issuer)
	}
	for _, c := range j.Claims {
		if !c.holds(req.Tokens[n].Claims) {
			return fmt.Sprintf("the token's claim %q is not %s", c.Path, Alternatives(c.Values))
		}
	}
	return ""
}

// TokenSources are those that the class's rules ask for, sorted.
func (c Class) TokenSources() []TokenSource {
	var out []TokenSource
	for _, r := range c.HTTP {
		if r.JWT != nil {
			out = append(out, r.JWT.TokenSource)
		}
	}
	slices.SortFunc(out, compareTokenSources)
	return slices.Compact(out)
}

func compareTokenSources(a, b TokenSource) int {
	return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.Keys, b.Keys), cmp.Compare(a.Header, b.Header))
}

// withinTokenSources leaves out the rules that would give a class too many sources of tokens:
// they allow nothing.
func (f *folder) withinTokenSources(rules []HTTPRule) []HTTPRule {
	if len((Class{HTTP: rules}).TokenSources()) <= MaxTokenSources {
		return rules
	}
	var out []HTTPRule
	var sources []TokenSource
	for _, r := range rules {
		switch {
		case r.JWT == nil, slices.Contains(sources, r.JWT.TokenSource):
		case len(sources) < MaxTokenSources:
			sources = append(sources, r.JWT.TokenSource)
		default:
			f.tooMuch(Problem{Policy: r.ID.Policy, Path: r.ID.Path, Reason: ReasonUnsupported, Message: fmt.Sprintf(
				"the rules for one peer and port can ask for tokens of %d issuers (each with its keys and header), and those before it do: the rule allows nothing",
				MaxTokenSources)})
			continue
		}
		out = append(out, r)
	}
	return out
}
