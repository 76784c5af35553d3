package ingest

import (
	"fmt"
	"strings"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/policy"
)

// ciliumHTTP converts HTTP rules. One that is wrong is left out: it allows nothing.
func (s *scope) ciliumHTTP(in []ciliumv2.HTTPRule, path string) *policy.HTTP {
	out := &policy.HTTP{}
	for i := range in {
		id := policy.RuleID{Policy: s.ref, Path: indexed(path, i)}
		if r, ok := s.ciliumHTTPRule(&in[i], id); ok && !s.unknownIn(id.Path) {
			out.Rules = append(out.Rules, r)
		}
	}
	return out
}

// ciliumHTTPRule: path, method and host are RE2 expressions over the whole string (SEMANTICS 15).
func (s *scope) ciliumHTTPRule(in *ciliumv2.HTTPRule, id policy.RuleID) (policy.HTTPRule, bool) {
	r := policy.HTTPRule{ID: id}
	good := true
	fail := func(field string, err error) {
		if err != nil {
			s.invalid(id.Path+"."+field, "%v", err)
			good = false
		}
	}
	paths, err := matchesOf(in.Path, onPath)
	fail("path", err)
	if len(paths) == 1 {
		r.Path = paths[0]
	}
	r.Methods, err = matchesOf(in.Method, onMethod)
	fail("method", err)
	r.Hosts, err = matchesOf(in.Host, onHost)
	fail("host", err)
	s.warnNoMatch(&r, id.Path+".path", id.Path+".host")
	if n := len(in.Headers) + len(in.HeaderMatches); n > maxHeaders {
		fail("headers", fmt.Errorf("a rule has at most %d headers and headerMatches together, this has %d: write several rules, or a regex", maxHeaders, n))
		return r, false
	}
	for i, text := range in.Headers {
		h, ok := s.ciliumHeader(text, at(id.Path, "headers", i))
		good = good && ok
		r.Headers = append(r.Headers, h)
	}
	for i := range in.HeaderMatches {
		h, ok := s.ciliumHeaderMatch(&in.HeaderMatches[i], at(id.Path, "headerMatches", i))
		good = good && ok
		r.Headers = append(r.Headers, h)
	}
	return r, good
}

// warnNoMatch warns of strings that no request has where they are looked for.
func (s *scope) warnNoMatch(r *policy.HTTPRule, path, host string) {
	if p := r.Path; p.Kind == policy.MatchExact && p.Value != "*" || p.Kind == policy.MatchPrefix {
		if !strings.HasPrefix(p.Value, "/") {
			s.warn(path, policy.ReasonNoMatch, "paths begin with a slash: %q matches none", p.Value)
		}
	}
	for _, h := range r.Hosts {
		name, port, ok := strings.Cut(h.Value, ":")
		if h.Kind == policy.MatchExact && ok && !strings.Contains(port, ":") {
			s.warn(host, policy.ReasonNoMatch, "hosts are compared without their port: write %q", name)
		}
	}
}

// ciliumHeader: with a space it is a name and an exact value, without one a name that
// must be there (SEMANTICS 17).
func (s *scope) ciliumHeader(text, path string) (policy.HeaderMatch, bool) {
	name, value, exact := strings.Cut(text, " ")
	if exact {
		name = strings.TrimRight(name, ":")
	} else if strings.Contains(name, ":") {
		s.warn(path, policy.ReasonNoMatch, "%q is read as a header of that very name, which cannot be, so that the rule allows nothing; write a space after the colon", text)
		return policy.HeaderMatch{}, false
	}
	h := policy.HeaderMatch{Name: strings.ToLower(name)}
	if exact {
		h.Value = policy.StringMatch{Kind: policy.MatchExact, Value: strings.TrimSpace(value)}
	}
	return h, s.headerName(name, path) && s.headerValue(h.Value.Value, path)
}

func (s *scope) ciliumHeaderMatch(in *ciliumv2.HeaderMatch, path string) (policy.HeaderMatch, bool) {
	h := policy.HeaderMatch{Name: strings.ToLower(in.Name)}
	if in.Value != "" {
		h.Value = policy.StringMatch{Kind: policy.MatchExact, Value: in.Value}
	}
	good := s.headerName(in.Name, path+".name") && s.headerValue(in.Value, path+".value")
	good = s.mismatch(&h, in.Mismatch, path+".mismatch") && good
	switch {
	case in.Secret == nil:
	case in.Value != "":
		s.invalid(path+".secret", "value and secret cannot both be set")
		good = false
	default:
		good = s.ciliumHeaderSecret(&h, in.Secret, path+".secret") && good
	}
	return h, good
}

// mismatch reads what is done with a header that does not match.
func (s *scope) mismatch(h *policy.HeaderMatch, action, path string) bool {
	actions := map[string]policy.Mismatch{"": policy.MismatchRefuse, "LOG": policy.MismatchLog, "ADD": policy.MismatchAdd,
		"DELETE": policy.MismatchDelete, "REPLACE": policy.MismatchReplace}
	var known bool
	h.Mismatch, known = actions[action]
	switch {
	case !known:
		s.invalid(path, "%q is none of LOG, ADD, DELETE and REPLACE", action)
		return false
	case h.Mismatch != policy.MismatchRefuse && h.Mismatch != policy.MismatchLog && framing(h.Name):
		s.unsupported(path, "%q belongs to the connection or the proxy, and cannot be changed: the rule allows nothing", h.Name)
		return false
	case h.Mismatch != policy.MismatchRefuse && strings.Count(strings.ReplaceAll(h.Name, "_", "-"), "-") > maxChangedSeparators:
		s.unsupported(path, "a name with more than %d dashes can be written in too many ways: the rule allows nothing", maxChangedSeparators)
		return false
	}
	return true
}

// maxChangedSeparators bounds the spellings of a header that is changed.
const maxChangedSeparators = 5

// framing says whether a header decides where a message ends or what the proxy does.
func framing(name string) bool {
	switch name {
	case "connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
		"upgrade", "x-forwarded-proto":
		return true
	}
	return strings.HasPrefix(name, "x-envoy-")
}

func (s *scope) headerName(name, path string) bool {
	switch {
	case len(name) > maxHeaderName:
		s.invalid(path, "the name of a header has at most %d characters, this has %d", maxHeaderName, len(name))
	case !token(name):
		s.invalid(path, "%q is not the name of a header", name)
	case strings.EqualFold(name, "host"):
		s.invalid(path, "the host is no header for rules; use the rule's own condition on hosts")
	default:
		return true
	}
	return false
}

// The bounds of a rule's headers, far below those above which a node takes nothing at all.
const (
	maxHeaderName  = 256
	maxHeaderValue = 4096
	maxHeaders     = 256
)

// headerValue refuses what no header can have.
func (s *scope) headerValue(value, path string) bool {
	if len(value) > maxHeaderValue {
		s.invalid(path, "a header's value has at most %d characters in a rule, this has %d; compare it with a Secret, or by a regex", maxHeaderValue, len(value))
		return false
	}
	if strings.ContainsAny(value, "\x00\r\n") {
		s.invalid(path, "a header's value has no line breaks")
		return false
	}
	return true
}

// token says whether text is a token of RFC 9110: a method or the name of a header.
func token(text string) bool {
	for _, r := range text {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)) {
			return false
		}
	}
	return text != ""
}
