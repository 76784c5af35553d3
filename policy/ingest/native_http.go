package ingest

import (
	"regexp"
	"strings"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// nativeHTTP converts HTTP entries. An Allow entry that is wrong is left out; a Deny
// entry loses the condition that is wrong, and so denies more.
func (s *scope) nativeHTTP(in []v1alpha1.HTTPRule, path string) []policy.HTTPRule {
	var out []policy.HTTPRule
	for i := range in {
		e := &in[i]
		r := policy.HTTPRule{ID: policy.RuleID{Policy: s.ref, Path: indexed(path, i), Name: e.Name}}
		var ok bool
		if r.Action, ok = s.action(e.Action, r.ID.Path); ok {
			ok = s.nativeHTTPRule(&r, e)
		}
		if s.unknownIn(r.ID.Path) {
			ok = false
			if r.Action == policy.Deny {
				r = policy.HTTPRule{ID: r.ID, Action: policy.Deny}
			}
		}
		if ok || r.Action == policy.Deny {
			out = append(out, r)
		}
	}
	return out
}

// action: what is neither Allow nor Deny denies.
func (s *scope) action(a v1alpha1.RuleAction, path string) (policy.Action, bool) {
	switch a {
	case "", v1alpha1.ActionAllow:
		return policy.Allow, true
	case v1alpha1.ActionDeny:
		return policy.Deny, true
	}
	s.invalid(path+".action", "%q is neither Allow nor Deny", a)
	return policy.Deny, false
}

func (s *scope) nativeHTTPRule(r *policy.HTTPRule, in *v1alpha1.HTTPRule) bool {
	path, good := r.ID.Path, true
	for i, m := range in.Methods {
		if !token(string(m)) {
			s.invalid(at(path, "methods", i), "%q is no method", m)
			good = false
		}
		r.Methods = append(r.Methods, policy.StringMatch{Kind: policy.MatchExact, Value: string(m)})
	}
	if !good { // without one of its alternatives a Deny entry would deny less
		r.Methods = nil
	}
	good = s.nativePath(r, in.Path, path+".path") && good
	hosts := true
	for i, h := range in.Hosts {
		if strings.ContainsAny(string(h), "/ \t\r\n\x00") || h == "" {
			s.invalid(at(path, "hosts", i), "%q is no host", h)
			good, hosts = false, false
		}
		r.Hosts = append(r.Hosts, hostMatch(string(h)))
	}
	if !hosts {
		r.Hosts = nil
	}
	s.warnNoMatch(r, path+".path", path+".hosts")
	for i := range in.Headers {
		h, ok := s.nativeHeader(&in.Headers[i], at(path, "headers", i))
		if !ok {
			good = false
			continue
		}
		r.Headers = append(r.Headers, h)
	}
	good = s.nativeJWT(r, in.JWT) && good
	return s.nativeRate(r, in.RateLimit) && good
}

func (s *scope) nativePath(r *policy.HTTPRule, in *v1alpha1.PathMatch, path string) bool {
	if in == nil {
		return true
	}
	set := 0
	for _, text := range []string{in.Exact, in.Prefix, string(in.Regex)} {
		if text != "" {
			set++
		}
	}
	switch {
	case set != 1:
		s.invalid(path, "exactly one of exact, prefix and regex must be set")
		return false
	case in.Exact != "":
		r.Path = policy.StringMatch{Kind: policy.MatchExact, Value: in.Exact}
	case in.Prefix != "":
		r.Path = policy.StringMatch{Kind: policy.MatchPrefix, Value: in.Prefix}
	default:
		m, err := matchesOf(string(in.Regex), onPath)
		if err != nil {
			s.invalid(path+".regex", "%v", err)
			return false
		}
		if len(m) == 1 {
			r.Path = m[0]
		}
	}
	return true
}

func (s *scope) nativeHeader(in *v1alpha1.HeaderMatch, path string) (policy.HeaderMatch, bool) {
	h := policy.HeaderMatch{Name: strings.ToLower(in.Name)}
	if !s.headerName(in.Name, path+".name") {
		return h, false
	}
	set := 0
	if in.Exact != "" {
		h.Value = policy.StringMatch{Kind: policy.MatchExact, Value: in.Exact}
		set++
	}
	if in.Prefix != "" {
		h.Value = policy.StringMatch{Kind: policy.MatchPrefix, Value: in.Prefix}
		set++
	}
	if in.Regex != "" {
		set++
		m, err := matchesOf(string(in.Regex), onHeader)
		if err != nil {
			s.invalid(path+".regex", "%v", err)
			return h, false
		}
		if len(m) == 1 {
			h.Value = m[0]
		}
	}
	if set > 1 {
		s.invalid(path, "at most one of exact, prefix and regex can be set")
		return h, false
	}
	return h, s.headerValue(in.Exact+in.Prefix, path)
}

// hostMatch: `*.` at the beginning stands for one or more labels; case, a trailing dot
// and the brackets of IPv6 are as in what it is compared with.
func hostMatch(host string) policy.StringMatch {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if rest, ok := strings.CutPrefix(host, "*."); ok {
		return policy.StringMatch{Kind: policy.MatchRegex, Value: `([-a-z0-9_]+\.)+` + regexp.QuoteMeta(rest)}
	}
	return policy.StringMatch{Kind: policy.MatchExact, Value: host}
}

// nativeGRPC converts gRPC entries: a call is a POST to /service/Method (SEMANTICS 22).
func (s *scope) nativeGRPC(in []v1alpha1.GRPCRule, path string) []policy.HTTPRule {
	var out []policy.HTTPRule
	for i := range in {
		e := &in[i]
		id := policy.RuleID{Policy: s.ref, Path: indexed(path, i), Name: e.Name}
		action, ok := s.action(e.Action, id.Path)
		if s.unknownIn(id.Path) {
			ok = false
		}
		if e.Service == "" && len(e.Methods) > 0 {
			s.invalid(id.Path+".methods", "methods need a service")
			ok = false
		}
		for _, text := range append([]string{e.Service}, stringsOf(e.Methods)...) {
			if strings.ContainsAny(text, "/?#% \r\n\x00") {
				s.invalid(id.Path, "%q is not the name of a service or method", text)
				ok = false
			}
		}
		post := policy.HTTPRule{ID: id, Action: action, Methods: []policy.StringMatch{{Kind: policy.MatchExact, Value: "POST"}}}
		ok = s.nativeJWT(&post, e.JWT) && ok
		ok = s.nativeRate(&post, e.RateLimit) && ok
		switch {
		case !ok && action == policy.Deny, ok && e.Service == "":
			out = append(out, post)
		case !ok:
		case len(e.Methods) == 0:
			post.Path = policy.StringMatch{Kind: policy.MatchPrefix, Value: "/" + e.Service + "/"}
			out = append(out, post)
		default:
			for j, m := range e.Methods {
				call := post
				call.ID.Path = at(id.Path, "methods", j)
				call.Path = policy.StringMatch{Kind: policy.MatchExact, Value: "/" + e.Service + "/" + string(m)}
				out = append(out, call)
			}
		}
	}
	return out
}

func stringsOf[S ~string](in []S) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}
