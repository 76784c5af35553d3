package flow

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"
)

// pattern compiles a client's regular expression; RE2 takes time in proportion to its
// length and the text's.
func pattern(text string) (*regexp.Regexp, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("an expression has more than %d bytes", maxPattern)
	}
	return regexp.Compile(text)
}

// glob is the expression for a name with "*".
func glob(text string) string {
	return "^" + strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, ".*") + "$"
}

// protocol tests for names of layer 4 and layer 7.
func protocol(wanted []string) (test, error) {
	for _, w := range wanted {
		switch strings.ToLower(w) {
		case "tcp", "udp", "sctp", "icmp", "icmpv4", "icmpv6", "http", "dns", "kafka", "vrrp", "igmp":
		default:
			return nil, fmt.Errorf("unknown protocol %q", w)
		}
	}
	return func(f *flowpb.Flow) bool {
		return slices.ContainsFunc(wanted, func(w string) bool { return hasProtocol(f, strings.ToLower(w)) })
	}, nil
}

func hasProtocol(f *flowpb.Flow, name string) bool {
	l4 := f.GetL4()
	switch name {
	case "tcp":
		return l4.GetTCP() != nil
	case "udp":
		return l4.GetUDP() != nil
	case "sctp":
		return l4.GetSCTP() != nil
	case "icmp":
		return l4.GetICMPv4() != nil || l4.GetICMPv6() != nil
	case "icmpv4":
		return l4.GetICMPv4() != nil
	case "icmpv6":
		return l4.GetICMPv6() != nil
	case "http":
		return f.GetL7().GetHttp() != nil
	case "dns":
		return f.GetL7().GetDns() != nil
	case "kafka":
		return f.GetL7().GetKafka() != nil //nolint:staticcheck // Hubble has no other record for Kafka
	}
	return false
}

// httpStatus tests for codes such as "404", and for beginnings such as "4+" and "50+".
func httpStatus(wanted []string) (test, error) {
	for _, w := range wanted {
		digits, begins := strings.CutSuffix(w, "+")
		if n, err := strconv.Atoi(digits); err != nil || n < 1 || n > 599 || begins == (len(digits) == 3) {
			return nil, fmt.Errorf("%q is no status code, and no beginning of one and \"+\"", w)
		}
	}
	return func(f *flowpb.Flow) bool {
		code := f.GetL7().GetHttp().GetCode()
		return code != 0 && slices.ContainsFunc(wanted, func(w string) bool {
			digits, _ := strings.CutSuffix(w, "+")
			return strings.HasPrefix(strconv.Itoa(int(code)), digits)
		})
	}, nil
}

func httpMethod(wanted []string) test {
	return func(f *flowpb.Flow) bool {
		http := f.GetL7().GetHttp()
		return http != nil && slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(w, http.GetMethod()) })
	}
}

func httpURL(wanted []string) (test, error) {
	return matching(wanted, func(h *flowpb.HTTP) (string, bool) { return h.GetUrl(), true })
}

func httpPath(wanted []string) (test, error) {
	return matching(wanted, func(h *flowpb.HTTP) (string, bool) {
		u, err := url.ParseRequestURI(h.GetUrl())
		if err != nil {
			return "", false
		}
		return u.Path, true
	})
}

func matching(wanted []string, of func(*flowpb.HTTP) (string, bool)) (test, error) {
	patterns, err := patternsOf(wanted, func(w string) string { return w })
	if err != nil {
		return nil, err
	}
	return func(f *flowpb.Flow) bool {
		http := f.GetL7().GetHttp()
		if http.GetUrl() == "" {
			return false
		}
		text, ok := of(http)
		return ok && foundBy(patterns, text)
	}, nil
}
