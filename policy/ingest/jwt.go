package ingest

import (
	"regexp"
	"strings"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// The bounds of what the CRDs bound too: stored objects can be from before them.
const (
	maxIssuer     = 512
	maxAudiences  = 16
	maxClaims     = 16
	maxClaimDepth = 8
	maxClaimValue = 256
)

// nativeJWT gives a rule its condition on a token; false if the rule must allow nothing.
func (s *scope) nativeJWT(r *policy.HTTPRule, in *v1alpha1.JWTMatch) bool {
	if in == nil {
		return true
	}
	path := r.ID.Path + ".jwt"
	if r.Action == policy.Deny {
		s.invalid(path, "a Deny entry cannot have jwt, as a client would leave out its token: the entry denies without it; allow the tokens that are right")
		return false
	}
	out, good := &policy.JWT{TokenSource: policy.TokenSource{Issuer: in.Issuer}}, true
	if in.Issuer == "" || len(in.Issuer) > maxIssuer {
		s.invalid(path+".issuer", "must be the claim iss of the tokens, of 1 to %d bytes", maxIssuer)
		good = false
	}
	switch {
	case (in.JWKS == "") == (in.JWKSURI == ""):
		s.invalid(path, "exactly one of jwks and jwksURI must be set")
		good = false
	case in.JWKSURI != "":
		s.unsupported(path+".jwksURI", "keys are not fetched yet: the entry allows nothing; put the issuer's keys into jwks")
		good = false
	default:
		keys, err := verifyingKeys(in.JWKS)
		if err != nil {
			s.invalid(path+".jwks", "%v", err)
			good = false
		}
		out.Keys = keys
	}
	out.Header, good = s.tokenHeader(in.Header, path+".header", good)
	if len(in.Audiences) > 0 {
		aud, ok := s.claim(v1alpha1.JWTClaim{Name: "aud", Values: in.Audiences}, path+".audiences")
		out.Claims, good = append(out.Claims, aud), good && ok
	}
	if len(in.Claims) > maxClaims {
		s.invalid(path+".claims", "must be at most %d, and are %d", maxClaims, len(in.Claims))
		return false
	}
	for i, c := range in.Claims {
		claim, ok := s.claim(c, at(path, "claims", i))
		out.Claims, good = append(out.Claims, claim), good && ok
	}
	r.JWT = out
	return good
}

// tokenHeader returns the header in lower case, and good unless it can hold no token.
func (s *scope) tokenHeader(name, path string, good bool) (string, bool) {
	if name == "" {
		return "", good
	}
	lower := strings.ToLower(name)
	if lower == "authorization" || lower == "cookie" {
		s.invalid(path, "%q cannot be the token alone; without `header` it is in Authorization, behind `Bearer `", name)
		return "", false
	}
	return lower, s.headerName(name, path) && good
}

// claim returns the names that lead to the claim, and its values.
func (s *scope) claim(in v1alpha1.JWTClaim, path string) (policy.Claim, bool) {
	out := policy.Claim{Path: claimPath(in.Name)}
	good := true
	wrong := func(field, format string, args ...any) {
		s.invalid(path+field, format, args...)
		good = false
	}
	switch {
	case out.Path == nil:
		wrong(".name", "%q is no claim: names with dots between them, at most %d, none of them empty; a dot or backslash of a name has a backslash before it", in.Name, maxClaimDepth)
	case (len(in.Values) == 0) == (len(in.Words) == 0):
		wrong("", "exactly one of values and words must be set")
	case len(in.Values)+len(in.Words) > maxAudiences:
		wrong("", "can have at most %d values or words", maxAudiences)
	}
	if !good {
		return out, false
	}
	for _, v := range in.Values {
		if len(v) > maxClaimValue {
			wrong("", "a value has %d bytes, and at most %d are possible", len(v), maxClaimValue)
		}
		out.Values = append(out.Values, policy.StringMatch{Kind: policy.MatchExact, Value: v})
	}
	for _, w := range in.Words {
		if w == "" || strings.Contains(w, " ") || len(w) > maxClaimValue {
			wrong(".words", "%q is no word: 1 to %d bytes without a space", w, maxClaimValue)
		}
		out.Values = append(out.Values, policy.StringMatch{Kind: policy.MatchRegex, Value: `(?s:(?:.* )?` + regexp.QuoteMeta(w) + `(?: .*)?)`})
	}
	return out, good
}

// claimPath takes a claim's name apart at its dots; nil if it is none.
func claimPath(name string) []string {
	var out []string
	var part strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '\\' && i+1 < len(name) && (name[i+1] == '.' || name[i+1] == '\\'):
			i++
			part.WriteByte(name[i])
		case c == '\\':
			return nil
		case c == '.':
			out = append(out, part.String())
			part.Reset()
		default:
			part.WriteByte(c)
		}
	}
	out = append(out, part.String())
	for _, p := range out {
		if p == "" || len(p) > maxClaimValue {
			return nil
		}
	}
	if len(out) > maxClaimDepth {
		return nil
	}
	return out
}
