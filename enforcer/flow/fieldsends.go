package flow

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"
)

// end is the source or the destination of a flow.
type end func(*flowpb.Flow) *flowpb.Endpoint

// address tests for addresses and CIDRs.
func address(wanted []string, of func(*flowpb.IP) string) (test, error) {
	var prefixes []netip.Prefix
	for _, w := range wanted {
		p, err := netip.ParsePrefix(w)
		if err != nil {
			a, err := netip.ParseAddr(w)
			if err != nil {
				return nil, fmt.Errorf("%q is no address and no CIDR", w)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		prefixes = append(prefixes, p)
	}
	return func(f *flowpb.Flow) bool {
		a, err := netip.ParseAddr(of(f.GetIP()))
		return err == nil && slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}, nil
}

// pod tests for "name", in namespace default; "namespace/name"; "namespace/", every pod of
// it; and "/name", in every namespace. A name is the beginning of a pod's.
func pod(wanted []string, of end) (test, error) {
	type name struct{ namespace, pod string }
	var names []name
	for _, w := range wanted {
		if w == "" {
			return nil, errors.New("a name must not be empty")
		}
		namespace, rest, both := strings.Cut(w, "/")
		if !both {
			namespace, rest = "default", w
		}
		names = append(names, name{namespace, rest})
	}
	return func(f *flowpb.Flow) bool {
		e := of(f)
		if e.GetNamespace() == "" && e.GetPodName() == "" {
			return false
		}
		return slices.ContainsFunc(names, func(n name) bool {
			return (n.namespace == "" || n.namespace == e.GetNamespace()) && strings.HasPrefix(e.GetPodName(), n.pod)
		})
	}, nil
}

func workload(wanted []*flowpb.Workload, of end) test {
	return func(f *flowpb.Flow) bool {
		return slices.ContainsFunc(of(f).GetWorkloads(), func(have *flowpb.Workload) bool {
			return slices.ContainsFunc(wanted, func(w *flowpb.Workload) bool {
				return (w.GetName() == "" || w.GetName() == have.GetName()) && (w.GetKind() == "" || w.GetKind() == have.GetKind())
			})
		})
	}
}

func identity(wanted []uint32, of end) test {
	return func(f *flowpb.Flow) bool { return slices.Contains(wanted, of(f).GetIdentity()) }
}

func cluster(wanted []string, of end) test {
	return func(f *flowpb.Flow) bool { return slices.Contains(wanted, of(f).GetClusterName()) }
}

// label tests for "key", "key=value" and "key!=value", several of them with commas: all
// must hold. A key without a source, such as "app", is meant with any.
func label(wanted []string, of end) (test, error) {
	var selectors [][]requirement
	for _, w := range wanted {
		var selector []requirement
		for _, part := range strings.Split(w, ",") {
			r, err := newRequirement(strings.TrimSpace(part))
			if err != nil {
				return nil, err
			}
			selector = append(selector, r)
		}
		selectors = append(selectors, selector)
	}
	return func(f *flowpb.Flow) bool {
		have := of(f).GetLabels()
		return slices.ContainsFunc(selectors, func(s []requirement) bool {
			return !slices.ContainsFunc(s, func(r requirement) bool { return !r.met(have) })
		})
	}, nil
}

// requirement is one part of a label selector.
type requirement struct {
	key, value      string
	hasValue, other bool
}

func newRequirement(text string) (requirement, error) {
	var r requirement
	key, value, ok := strings.Cut(text, "=")
	if key, r.other = strings.CutSuffix(key, "!"); !ok && r.other {
		key = ""
	}
	r.key, r.value, r.hasValue = strings.TrimSpace(key), strings.TrimSpace(strings.TrimPrefix(value, "=")), ok
	if not, cut := strings.CutPrefix(r.key, "!"); cut && !ok {
		r.key, r.other = not, true
	}
	if r.key == "" || strings.ContainsAny(text, "() ") {
		return r, fmt.Errorf("%q is none of key, !key, key=value and key!=value", text)
	}
	return r, nil
}

func (r requirement) met(labels []string) bool {
	found := slices.ContainsFunc(labels, func(l string) bool {
		key, value, _ := strings.Cut(l, "=")
		if !strings.Contains(r.key, ":") {
			_, key, _ = strings.Cut(key, ":")
		}
		return key == r.key && (!r.hasValue || value == r.value)
	})
	return found != r.other
}

// nodeName tests for names with "*", behind a cluster's name and "/" if one is given;
// "cluster/" is every node.
func nodeName(wanted []string) (test, error) {
	var patterns []func(string) bool
	for _, w := range wanted {
		if i := strings.LastIndexByte(w, '/'); i >= 0 {
			w = w[i+1:]
		}
		if w == "" {
			w = "*"
		}
		p, err := pattern(glob(w))
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, p.MatchString)
	}
	return func(f *flowpb.Flow) bool {
		return slices.ContainsFunc(patterns, func(p func(string) bool) bool { return p(f.GetNodeName()) })
	}, nil
}
