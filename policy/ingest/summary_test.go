package ingest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/septum-dev/septum/policy"
)

// summary is a snapshot and its problems as short, readable lines.
func summary(s policy.Snapshot, problems []policy.Problem) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, p := range s.Policies {
		mode := ""
		if p.Mode == policy.Audit {
			mode = " audit"
		}
		line("policy %s%s", refText(p.Ref), mode)
		for _, spec := range p.Specs {
			line("  %s: %s", spec.Path, selectorText(spec.Subject))
			for _, d := range []struct {
				name string
				policy.Section
			}{{"ingress", spec.Ingress}, {"egress", spec.Egress}} {
				if d.DefaultDeny || len(d.Rules) > 0 {
					line("    %s%s", d.name, either(d.DefaultDeny, ", default deny", ""))
				}
				for _, r := range d.Rules {
					name := either(r.ID.Name != "", " ("+r.ID.Name+")", "")
					line("      %s %s%s: %s %s", either(r.Audit, "report", either(r.Action == policy.Deny, "deny", "allow")), r.ID.Path, name, peersText(r), portsText(r.Ports))
					if dns, ok := r.L7.(*policy.DNS); ok {
						for _, n := range dns.Rules {
							line("        name %s", n.Name)
						}
					}
					if tls, ok := r.L7.(*policy.TLS); ok {
						line("        names %q", tls.Rule.Names)
						if tls.Rule.Inspects() {
							line("        inspect %q", tls.Rule.Inspect.Secrets())
						}
						for _, h := range tls.HTTP {
							line("        %s", httpText(h))
						}
					}
					if kafka, ok := r.L7.(*policy.Kafka); ok {
						for _, k := range kafka.Rules {
							line("        %s", kafkaText(k))
						}
					}
					if http, ok := r.L7.(*policy.HTTP); ok {
						for _, h := range http.Rules {
							line("        %s", httpText(h))
						}
					}
				}
			}
		}
	}
	for _, n := range s.Nodes {
		line("node %s %v %v", n.Name, n.Addrs, n.PodCIDRs)
	}
	for _, e := range s.Endpoints {
		line("pod %s node=%s workload=%s identity=%d %v ports=%v%s", e.Key, e.Node, e.Workload, e.Identity, e.Addrs, e.Ports, either(e.HostNetwork, " host network", ""))
	}
	for _, i := range s.Identities {
		line("identity %d %s", i.Identity, labelsText(i.Labels))
	}
	for _, svc := range s.Services {
		line("service %s %v %v%s", svc.Key, svc.Addrs, svc.Ports, either(svc.Headless, " headless", ""))
	}
	if len(s.APIServer) > 0 {
		line("api server %v", s.APIServer)
	}
	for _, p := range problems {
		line("%s %s %s %s: %s", either(p.Warning, "warning", "problem"), refText(p.Policy), p.Reason, p.Path, p.Message)
	}
	return b.String()
}

func either(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

func refText(r policy.Ref) string {
	return r.Kind + " " + strings.TrimPrefix(r.Namespace+"/"+r.Name, "/")
}

func selectorText(s policy.Selector) string {
	if len(s.Requirements) == 0 {
		return "{}"
	}
	parts := make([]string, len(s.Requirements))
	for i, r := range s.Requirements {
		key := strings.NewReplacer("k8s:io.kubernetes.pod.namespace", "NS", "k8s:io.cilium.k8s.namespace.labels.", "NSLABEL:",
			"k8s:io.cilium.k8s.policy.cluster", "CLUSTER", "k8s:io.cilium.k8s.policy.serviceaccount", "ACCOUNT").Replace(r.Key)
		switch r.Operator {
		case policy.In:
			parts[i] = key + "=" + strings.Join(r.Values, "|")
		case policy.NotIn:
			parts[i] = key + "!=" + strings.Join(r.Values, "|")
		case policy.Exists:
			parts[i] = key
		case policy.DoesNotExist:
			parts[i] = "!" + key
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func peersText(r policy.Rule) string {
	if r.AnyPeer {
		return "everyone"
	}
	parts := make([]string, len(r.Peers))
	for i, p := range r.Peers {
		switch {
		case p.Selector != nil:
			parts[i] = selectorText(*p.Selector)
		case p.CIDR != nil:
			parts[i] = p.CIDR.Prefix.String()
			if len(p.CIDR.Except) > 0 {
				parts[i] += fmt.Sprintf(" but %v", p.CIDR.Except)
			}
		case p.Name != "":
			parts[i] = "name " + string(p.Name)
		default:
			parts[i] = fmt.Sprintf("services %v", p.Services)
		}
	}
	return strings.Join(parts, " or ")
}

func portsText(ports []policy.Port) string {
	if len(ports) == 0 {
		return "every port"
	}
	parts := make([]string, len(ports))
	for i, p := range ports {
		proto := map[policy.Protocol]string{0: "ANY", 1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}[p.Protocol]
		switch {
		case p.Protocol == policy.ProtocolICMP || p.Protocol == policy.ProtocolICMPv6:
			parts[i] = fmt.Sprintf("%s type %d", proto, p.ICMPType)
		case p.Name != "":
			parts[i] = proto + "/" + p.Name
		case p.EndPort != 0:
			parts[i] = fmt.Sprintf("%s/%d-%d", proto, p.Port, p.EndPort)
		default:
			parts[i] = fmt.Sprintf("%s/%d", proto, p.Port)
		}
	}
	return strings.Join(parts, ",")
}

func kafkaText(k policy.KafkaRule) string {
	return fmt.Sprintf("%s kafka keys=%v versions=%v clients=%q topics=%v", either(k.Action == policy.Deny, "deny", "allow"), k.Keys, k.Versions, k.ClientIDs, k.Topics)
}

func httpText(h policy.HTTPRule) string {
	out := either(h.Action == policy.Deny, "deny ", "") + h.ID.Path + either(h.ID.Name != "", " ("+h.ID.Name+")", "") + ":"
	for _, m := range h.Methods {
		out += " method " + matchText(m)
	}
	if h.Path.Kind != policy.MatchAny {
		out += " path " + matchText(h.Path)
	}
	for _, m := range h.Hosts {
		out += " host " + matchText(m)
	}
	for _, m := range h.Headers {
		out += " header " + m.Name + " " + matchText(m.Value) + []string{"", " or log", " or add", " or delete", " or replace"}[m.Mismatch]
	}
	if h.Rate.Limited() {
		out += fmt.Sprintf(" rate %d in %v, burst %d", h.Rate.Requests, h.Rate.Per, h.Rate.Burst)
	}
	if j := h.JWT; j != nil {
		out += fmt.Sprintf(" token of %s by %s in %q", j.Issuer, j.Keys, j.Header)
		for _, c := range j.Claims {
			out += fmt.Sprintf(" claim %q", c.Path)
			for _, v := range c.Values {
				out += " " + matchText(v)
			}
		}
	}
	return out
}

func matchText(m policy.StringMatch) string {
	return []string{"any", "=", "prefix ", "~"}[m.Kind] + m.Value
}

func labelsText(l policy.Labels) string {
	parts := make([]string, 0, len(l))
	for _, k := range slices.Sorted(maps.Keys(l)) {
		parts = append(parts, k+"="+l[k])
	}
	return strings.Join(parts, " ")
}
