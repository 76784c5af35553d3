package xds

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

// samplePolicy has every field of a NodePolicy set somewhere.
func samplePolicy(node string) policy.NodePolicy {
	ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: "backend"}
	rule := policy.RuleID{Policy: ref, Path: "spec.ingress[0].toPorts[0].rules.http[0]", Name: "get-data"}
	l4 := policy.RuleID{Policy: ref, Path: "spec.ingress[1]"}
	return policy.NodePolicy{
		Node: node,
		Endpoints: []policy.EndpointPolicy{
			{Key: "demo/backend", UID: "u1", Identity: 300, Addrs: []netip.Addr{netip.MustParseAddr("10.244.1.5"), netip.MustParseAddr("fd00::5")}, Ingress: "in", Egress: "out"},
			{Key: "demo/host", UID: "u2", Identity: 301, HostNetwork: true},
		},
		Tables: []policy.Table{
			{ID: "in", Direction: policy.Ingress, DefaultDeny: true, Denying: []policy.Ref{ref, {Kind: "ClusterL7NetworkPolicy", Name: "all"}}, Entries: []policy.Entry{
				{Identity: 0, Protocol: policy.ProtocolTCP, Port: 8080, PrefixLen: 12, Verdict: policy.Forwarded, Rules: []policy.RuleID{l4, rule}},
				{Identity: 256, Protocol: policy.ProtocolTCP, Port: 80, PrefixLen: 16, Verdict: policy.Redirected, Class: "class", Rules: []policy.RuleID{rule}},
			}},
			{ID: "out", Direction: policy.Egress, Audit: true, AuditRest: true, Entries: []policy.Entry{{Verdict: policy.Audited, Rules: []policy.RuleID{l4}}}},
		},
		Classes: []policy.Class{{ID: "class", Direction: policy.Ingress, Audit: true, AllowAll: &l4, AuditRest: true, AuditAll: &l4, Failure: policy.FailOpen, HTTP: []policy.HTTPRule{{
			ID: rule, Action: policy.Deny, Methods: []policy.StringMatch{{Kind: policy.MatchExact, Value: "GET"}},
			Path: policy.StringMatch{Kind: policy.MatchRegex, Value: "/data(/.*)?"}, Hosts: []policy.StringMatch{{Kind: policy.MatchPrefix, Value: "a"}},
			Headers: []policy.HeaderMatch{{Name: "x-token", Value: policy.StringMatch{}}, {Name: "x-user", Value: policy.StringMatch{Kind: policy.MatchExact, Value: "a"}, Mismatch: policy.MismatchReplace}},
			JWT: &policy.JWT{TokenSource: policy.TokenSource{Issuer: "i", Keys: "{}", Header: "x-token"},
				Claims: []policy.Claim{{Path: []string{"a", "b"}, Values: []policy.StringMatch{{Kind: policy.MatchExact, Value: "v"}}}}},
		}, {ID: rule, JWT: &policy.JWT{TokenSource: policy.TokenSource{Issuer: "j", Keys: `{"keys":[]}`}}, Rate: policy.Rate{Requests: 2, Burst: 3, Per: time.Minute}}}}, {ID: "inside", Kind: policy.KindTLS, TLS: []policy.TLSRule{{ID: rule, Names: []policy.ServerName{"a.example", "**"},
			Inspect: policy.Inspection{Certificate: "certificate/a", ClientCA: "ca/b", TrustedCA: "ca/c", ClientCertificate: "certificate/d"}},
			{ID: rule, Names: []policy.ServerName{"b.example"}}},
			HTTP: []policy.HTTPRule{{ID: rule, Names: []policy.ServerName{"a.example"}, Headers: []policy.HeaderMatch{{Name: "x", Secret: "header/s"}}}}},
			{ID: "names", Kind: policy.KindDNS, Direction: policy.Egress, DNS: []policy.DNSRule{{ID: rule, Name: "*.example.com"}}}},
		Applied: []policy.AppliedPolicy{{Ref: ref, UID: "p1", Generation: 7}},
		Addresses: []policy.Address{
			{Prefix: netip.MustParsePrefix("10.99.0.11/32"), Identity: policy.IdentityHost, Node: node},
			{Prefix: netip.MustParsePrefix("10.99.0.99/32"), Identity: policy.IdentityRemoteNode, Node: "other"},
			{Prefix: netip.MustParsePrefix("10.244.1.5/32"), Identity: 300, Node: node, Namespace: "demo", Pod: "backend", Workload: "backend-app"},
			{Prefix: netip.MustParsePrefix("fd00::/64"), Identity: policy.FirstCIDRIdentity},
		},
		Identities: []policy.IdentityLabels{
			{Identity: 256, Labels: policy.Labels{"k8s:app": "frontend", policy.LabelNamespace: "demo"}},
			{Identity: 300, Labels: policy.Labels{"k8s:app": "backend"}},
		},
	}
}

type nodeSet = map[string]*septumpb.NodeResource

type clusterSet = map[string]*septumpb.ClusterResource

func resources(t testing.TB, np policy.NodePolicy) (nodeSet, clusterSet) {
	t.Helper()
	node, err := NodeResources(np)
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := ClusterResources(np)
	if err != nil {
		t.Fatal(err)
	}
	return node, cluster
}

func TestRoundTrip(t *testing.T) {
	for name, np := range map[string]policy.NodePolicy{
		"every field": samplePolicy("node1"),
		"nothing":     {Node: "node1"},
	} {
		t.Run(name, func(t *testing.T) {
			node, cluster := resources(t, np)
			got, err := Assemble("node1", node, cluster)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(np, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("not what went in (-in +out):\n%s", diff)
			}
		})
	}
}

func TestClusterResourcesAreTheSameOnEveryNode(t *testing.T) {
	one, two := samplePolicy("node1"), samplePolicy("node1")
	// The same cluster as node "other" sees it.
	two.Node = "other"
	two.Addresses[0].Identity, two.Addresses[1].Identity = policy.IdentityRemoteNode, policy.IdentityHost
	_, a := resources(t, one)
	_, b := resources(t, two)
	if !maps.EqualFunc(a, b, func(x, y *septumpb.ClusterResource) bool { return proto.Equal(x, y) }) {
		t.Error("the resources depend on the node")
	}
}

func TestVersionFollowsContentsOnly(t *testing.T) {
	version := func(change func(*policy.NodePolicy)) string {
		np := samplePolicy("node1")
		change(&np)
		node, _ := resources(t, np)
		return node[CheckpointName].GetCheckpoint().GetVersion()
	}
	base := version(func(*policy.NodePolicy) {})
	for name, c := range map[string]struct {
		change func(*policy.NodePolicy)
		same   bool
	}{
		"again":              {func(*policy.NodePolicy) {}, true},
		"addresses":          {func(np *policy.NodePolicy) { np.Addresses = nil }, true},
		"an edited path":     {func(np *policy.NodePolicy) { np.Classes[0].HTTP[0].Path.Value = "/x" }, false},
		"a pod that is gone": {func(np *policy.NodePolicy) { np.Endpoints = np.Endpoints[:1] }, false},
		"an entry":           {func(np *policy.NodePolicy) { np.Tables[0].Entries[0].Verdict = policy.Denied }, false},
	} {
		if got := version(c.change); (got == base) != c.same {
			t.Errorf("%s: same version %v, want %v", name, got == base, c.same)
		}
	}
}

func TestAssembleRefuses(t *testing.T) {
	long := strings.Repeat("x", wire.MaxText+1)
	for name, c := range map[string]struct {
		change func(nodeSet, clusterSet)
		want   string
	}{
		"no node checkpoint":      {func(n nodeSet, _ clusterSet) { delete(n, CheckpointName) }, "no checkpoint"},
		"no cluster checkpoint":   {func(_ nodeSet, c clusterSet) { delete(c, CheckpointName) }, "no checkpoint"},
		"a nil resource":          {func(n nodeSet, _ clusterSet) { n["table/in"] = nil }, "empty"},
		"a class that is missing": {func(n nodeSet, _ clusterSet) { delete(n, "class/class") }, "no such class"},
		"a table that is missing": {func(n nodeSet, _ clusterSet) { delete(n, "table/out") }, "no such table"},
		"a class of the other direction": {func(n nodeSet, _ clusterSet) {
			n["class/class"].GetClass().Direction = uint32(policy.Egress)
		}, "no such class in this direction"},
		"a table of the other direction": {func(n nodeSet, _ clusterSet) {
			n["endpoint/demo/backend"].GetEndpoint().EgressTable = "in"
		}, "no such table in this direction"},
		"a name that lies":    {func(n nodeSet, _ clusterSet) { n["table/out"].GetTable().Id = "in" }, `holds "table/in"`},
		"a port of 17 bits":   {func(n nodeSet, _ clusterSet) { n["table/in"].GetTable().Entries[1].Port = 65616 }, "port: 65616"},
		"a port with a tail":  {func(n nodeSet, _ clusterSet) { n["table/in"].GetTable().Entries[0].Port = 8081 }, "bits behind"},
		"a prefix of 17":      {func(n nodeSet, _ clusterSet) { n["table/in"].GetTable().Entries[0].PrefixLen = 17 }, "prefix_len"},
		"an unknown verdict":  {func(n nodeSet, _ clusterSet) { n["table/in"].GetTable().Entries[0].Verdict = 9 }, "verdict"},
		"an unknown rule":     {func(n nodeSet, _ clusterSet) { n["table/in"].GetTable().Entries[1].Rules[0] = 9 }, "no rule 9"},
		"ports of no proto":   {func(n nodeSet, _ clusterSet) { n["table/in"].GetTable().Entries[0].Protocol = 0 }, "without a protocol"},
		"class on an allow":   {func(n nodeSet, _ clusterSet) { n["table/in"].GetTable().Entries[0].Class = "class" }, "belongs to the verdict"},
		"entries in disorder": {func(n nodeSet, _ clusterSet) { n["table/in"].GetTable().Entries[0].Identity = 999 }, "out of order"},
		"a bad name":          {func(n nodeSet, _ clusterSet) { n["class/names"].GetClass().Dns[0].Name = "a..b" }, "empty label"},
		"a name not plain":    {func(n nodeSet, _ clusterSet) { n["class/names"].GetClass().Dns[0].Name = "A.b" }, "plain form"},
		"a bad expression":    {func(n nodeSet, _ clusterSet) { n["class/class"].GetClass().Http[0].Path.Value = "(" }, "missing closing )"},
		"a rule of no policy": {func(n nodeSet, _ clusterSet) { n["class/class"].GetClass().Http[0].Id = nil }, "kind: is empty"},
		"an address":          {func(n nodeSet, _ clusterSet) { n["endpoint/demo/backend"].GetEndpoint().Addresses[0] = "ten" }, `"ten" is not an address`},
		"a long text":         {func(n nodeSet, _ clusterSet) { n["endpoint/demo/backend"].GetEndpoint().Uid = long }, "uid: longer"},
		"a pod's key": {func(n nodeSet, _ clusterSet) {
			n["endpoint/a"] = &septumpb.NodeResource{Resource: &septumpb.NodeResource_Endpoint{Endpoint: &septumpb.Endpoint{Key: "a"}}}
		}, "not namespace/name"},
		"a CIDR with a tail": {func(_ nodeSet, c clusterSet) { c["address/fd00::/64"].GetAddress().Prefix = "fd00::1/64" }, "shortest form"},
		"identity 0":         {func(_ nodeSet, c clusterSet) { c["address/fd00::/64"].GetAddress().Identity = 0 }, "no identity"},
	} {
		t.Run(name, func(t *testing.T) {
			node, cluster := resources(t, samplePolicy("node1"))
			c.change(node, cluster)
			got, err := Assemble("node1", node, cluster)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
			if !cmp.Equal(got, policy.NodePolicy{}) {
				t.Error("something was returned beside the error")
			}
		})
	}
}

// FuzzAssemble: bytes that decode are refused, or are a policy that goes round again.
func FuzzAssemble(f *testing.F) {
	node, cluster := resources(f, samplePolicy("node1"))
	for name, m := range node {
		wire, _ := marshal(m)
		f.Add(name, wire)
	}
	for name, m := range cluster {
		wire, _ := marshal(m)
		f.Add(name, wire)
	}
	f.Fuzz(func(t *testing.T, name string, wire []byte) {
		node, cluster := resources(t, samplePolicy("node1"))
		n, c := emptyNode(), emptyCluster()
		if proto.Unmarshal(wire, n) == nil {
			node[name] = n
		}
		if proto.Unmarshal(wire, c) == nil {
			cluster[name] = c
		}
		np, err := Assemble("node1", node, cluster)
		if err != nil {
			return
		}
		node, cluster = resources(t, np)
		again, err := Assemble("node1", node, cluster)
		if err != nil {
			t.Fatalf("what was accepted is not accepted again: %v", err)
		}
		if diff := cmp.Diff(np, again, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("another policy after one more round:\n%s", diff)
		}
	})
}
