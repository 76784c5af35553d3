package flow

import (
	"regexp"
	"slices"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"
)

// fqdn tests for names with "*".
func fqdn(wanted []string, of func(*flowpb.Flow) []string) (test, error) {
	patterns, err := patternsOf(wanted, func(w string) string { return glob(strings.ToLower(strings.TrimSuffix(w, "."))) })
	if err != nil {
		return nil, err
	}
	return func(f *flowpb.Flow) bool {
		return slices.ContainsFunc(of(f), func(name string) bool { return foundBy(patterns, strings.ToLower(name)) })
	}, nil
}

// dnsQuery tests for names that are asked for, with regular expressions.
func dnsQuery(wanted []string) (test, error) {
	patterns, err := patternsOf(wanted, func(w string) string { return w })
	if err != nil {
		return nil, err
	}
	return func(f *flowpb.Flow) bool {
		dns := f.GetL7().GetDns()
		return dns != nil && foundBy(patterns, dns.GetQuery())
	}, nil
}

func patternsOf(wanted []string, text func(string) string) ([]*regexp.Regexp, error) {
	var out []*regexp.Regexp
	for _, w := range wanted {
		p, err := pattern(text(w))
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func foundBy(patterns []*regexp.Regexp, text string) bool {
	return slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(text) })
}

// service tests for names as pod does.
func service(wanted []string, of func(*flowpb.Flow) *flowpb.Service) (test, error) {
	return pod(wanted, func(f *flowpb.Flow) *flowpb.Endpoint {
		return &flowpb.Endpoint{Namespace: of(f).GetNamespace(), PodName: of(f).GetName()}
	})
}

func traceID(wanted []string) test {
	return func(f *flowpb.Flow) bool {
		id := f.GetTraceContext().GetParent().GetTraceId()
		return id != "" && slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(w, id) })
	}
}
