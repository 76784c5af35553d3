package xds

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// fieldFeatures says of each field of a node's resources which feature a node must know to judge by it; ""
// is what every node has always known. A field that is not here fails the test below: a node that
// is older than the field would judge without it.
func fieldFeatures() map[string]string {
	out := map[string]string{
		"Class.audit_all": featureAuditAll, "Class.kafka": featureKafka, "Class.dns": featureDNS, "Class.tls": featureTLS,
		"TLSRule.inspect": featureInspection, "HTTPRule.names": featureInspection,
		"HTTPRule.jwt": featureJWT, "Class.jwks": featureJWT, "HTTPRule.rate_limit": featureRate,
		"HeaderMatch.mismatch": featureHeaderActions, "HeaderMatch.secret": featureHeaderSecrets,
		// These are there only with what names them.
		"NodeResource.secret": featureHeaderSecrets, "Class.kind": featureKafka + " " + featureDNS + " " + featureTLS,
	}
	for message, fields := range map[string]string{
		"NodeResource":  "endpoint table class checkpoint needs",
		"Endpoint":      "key uid identity addresses host_network ingress_table egress_table",
		"Table":         "id direction default_deny audit entries rules denying audit_rest",
		"PolicyRef":     "kind namespace name",
		"Entry":         "identity protocol port prefix_len verdict class rules",
		"RuleID":        "kind namespace name path rule_name",
		"Class":         "id direction http allow_all audit audit_rest failure",
		"HTTPRule":      "id action methods path hosts headers audit",
		"HeaderMatch":   "name value",
		"StringMatch":   "kind value",
		"DNSRule":       "id name",
		"TLSRule":       "id names",
		"KafkaRule":     "id action audit keys versions client_ids topics",
		"Inspection":    "certificate client_ca trusted_ca client_certificate",
		"JWT":           "issuer keys header claims",
		"Claim":         "path values",
		"RateLimit":     "requests burst seconds",
		"Secret":        "id value key",
		"Checkpoint":    "version policies",
		"AppliedPolicy": "kind namespace name uid generation",
	} {
		for _, field := range strings.Fields(fields) {
			out[message+"."+field] = ""
		}
	}
	return out
}

func TestEveryFieldOfTheWireHasItsFeature(t *testing.T) {
	known, seen := fieldFeatures(), map[string]bool{}
	features := Features()
	var walk func(protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[string(m.Name())] {
			return
		}
		seen[string(m.Name())] = true
		for i := range m.Fields().Len() {
			field := m.Fields().Get(i)
			name := string(m.Name()) + "." + string(field.Name())
			feature, ok := known[name]
			if !ok {
				t.Errorf("%s has no feature: a node that does not know the field must be told (features.go)", name)
			}
			for _, f := range strings.Fields(feature) {
				if !slices.Contains(features, f) {
					t.Errorf("%s: %s is no feature", name, f)
				}
			}
			delete(known, name)
			if field.Message() != nil {
				walk(field.Message())
			}
		}
	}
	walk(emptyNode().ProtoReflect().Descriptor())
	for name := range known {
		t.Errorf("%s is no field of the wire", name)
	}
	if !slices.IsSorted(features) {
		t.Error("the features are not sorted")
	}
}

// needy is a class for each feature: one allow rule that needs it, one plain rule where the kind
// has such, and the same with a deny rule.
func needy(feature string, deny bool) (policy.Class, bool) {
	id := func(name string) policy.RuleID {
		return policy.RuleID{Policy: policy.Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: name}, Path: "spec"}
	}
	open := id("z-open")
	out := policy.Class{ID: "c", AllowAll: &open}
	rule := policy.HTTPRule{ID: id("needy"), Path: policy.StringMatch{Kind: policy.MatchExact, Value: "/admin"}}
	if deny {
		rule.Action = policy.Deny
	}
	plain := policy.HTTPRule{ID: id("plain"), Path: policy.StringMatch{Kind: policy.MatchExact, Value: "/"}}
	switch feature {
	case featureKafka:
		out.Kind, out.Kafka = policy.KindKafka, []policy.KafkaRule{{ID: id("needy"), Action: rule.Action, Topics: []policy.StringMatch{{Kind: policy.MatchExact, Value: "t"}}}}
		return out, true
	case featureDNS:
		out.Kind, out.DNS = policy.KindDNS, []policy.DNSRule{{ID: id("needy"), Name: "a.example"}}
		return out, !deny
	case featureTLS:
		out.Kind, out.TLS = policy.KindTLS, []policy.TLSRule{{ID: id("needy"), Names: []policy.ServerName{"a.example"}}}
		return out, !deny
	case featureInspection:
		out.Kind = policy.KindTLS
		out.TLS = []policy.TLSRule{
			{ID: id("needy"), Names: []policy.ServerName{"a.example"}, Inspect: policy.Inspection{Certificate: "certificate/a"}},
			{ID: id("plain"), Names: []policy.ServerName{"b.example"}},
		}
		rule.Names = []policy.ServerName{"a.example"}
		out.HTTP = []policy.HTTPRule{rule}
		return out, true
	case featureAuditAll:
		audits := id("needy")
		out.HTTP, out.AuditAll = []policy.HTTPRule{plain}, &audits
		return out, !deny
	case featureJWT:
		rule.JWT = &policy.JWT{TokenSource: policy.TokenSource{Issuer: "i", Keys: "{}"}}
	case featureRate:
		rule.Rate = policy.Rate{Requests: 1, Burst: 1, Per: time.Second}
	case featureHeaderActions:
		rule.Headers = []policy.HeaderMatch{{Name: "x", Mismatch: policy.MismatchReplace}}
	case featureHeaderSecrets:
		rule.Headers = []policy.HeaderMatch{{Name: "x", Secret: "header/s"}}
	}
	out.HTTP = []policy.HTTPRule{rule, plain}
	return out, true
}

// needyPolicy has such a class on both directions' way: what is judged, and by whom, is the same.
func needyPolicy(class policy.Class) policy.NodePolicy {
	in, out := class, class
	in.ID, in.Direction, out.ID, out.Direction = "in", policy.Ingress, "out", policy.Egress
	np := policy.NodePolicy{Node: "node1", Classes: []policy.Class{in, out}, Secrets: secretsFor(class)}
	np.Endpoints = []policy.EndpointPolicy{{Key: "demo/a", UID: "u", Identity: 300, Ingress: "in", Egress: "out"}}
	for _, c := range np.Classes {
		np.Tables = append(np.Tables, policy.Table{ID: policy.TableID(c.ID), Direction: c.Direction, DefaultDeny: true, Entries: []policy.Entry{
			{Identity: 256, Protocol: policy.ProtocolTCP, Port: 80, PrefixLen: 16, Verdict: policy.Redirected, Class: c.ID}}})
	}
	return np
}

func secretsFor(c policy.Class) []policy.Secret {
	var out []policy.Secret
	for _, id := range c.Secrets() {
		out = append(out, policy.Secret{ID: id, Value: policy.Hidden("secret")})
	}
	return out
}

// TestWhatANodeDoesNotKnowIsClosed: for each feature, what a node is served that lacks it
// needs it no more, names no rule that does, and is whole; the other rules of the class stay.
func TestWhatANodeDoesNotKnowIsClosed(t *testing.T) {
	for _, feature := range Features() {
		for _, deny := range []bool{false, true} {
			class, ok := needy(feature, deny)
			if !ok {
				continue
			}
			t.Run(feature+map[bool]string{true: " in a deny rule"}[deny], func(t *testing.T) {
				node, cluster := resources(t, needyPolicy(class))
				for _, name := range []string{"class/in", "class/out"} {
					if !slices.Contains(node[name].GetNeeds(), feature) {
						t.Fatalf("%s needs %q, and not %s", name, node[name].GetNeeds(), feature)
					}
				}
				ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: "needy"}
				if !slices.Contains(Needs(node)[ref], feature) {
					t.Errorf("the policy needs %q, and not %s", Needs(node)[ref], feature)
				}
				if same, err := Restrict(node, nil); err != nil || !maps.Equal(versions(node), versions(same)) {
					t.Errorf("a node that lacks nothing gets something else (%v)", err)
				}
				less, err := Restrict(node, []string{feature})
				if err != nil {
					t.Fatal(err)
				}
				got, err := Assemble("node1", less, cluster)
				if err != nil {
					t.Fatalf("what is left does not hold together: %v", err)
				}
				for _, c := range got.Classes {
					if slices.Contains(less["class/"+string(c.ID)].GetNeeds(), feature) {
						t.Errorf("class %s still needs %s", c.ID, feature)
					}
					checkClosed(t, c, feature, deny)
				}
				for id := range less {
					if strings.HasPrefix(id, secretPrefix) {
						t.Errorf("%s is given to a node that cannot use it", id)
					}
				}
			})
		}
	}
}

// checkClosed: no rule with the name "needy" is left. Where it denied, or the kind is not known,
// nothing at all is, not even what allows everything.
func checkClosed(t *testing.T, c policy.Class, feature string, deny bool) {
	t.Helper()
	whole := deny || slices.Contains([]string{featureKafka, featureDNS, featureTLS}, feature)
	if whole {
		if len(c.HTTP)+len(c.Kafka)+len(c.DNS)+len(c.TLS) > 0 || c.AllowAll != nil || c.AuditAll != nil || c.Kind != policy.KindHTTP {
			t.Errorf("the class is not closed: %+v", c)
		}
		return
	}
	if c.AllowAll == nil || len(c.HTTP)+len(c.TLS) != 1 {
		t.Errorf("the class's other rules are gone: %+v", c)
	}
	for _, r := range c.HTTP {
		if r.ID.Policy.Name != "plain" {
			t.Errorf("a rule is left: %+v", r)
		}
	}
	for _, r := range c.TLS {
		if r.ID.Policy.Name != "plain" {
			t.Errorf("a rule is left: %+v", r)
		}
	}
	if c.AuditAll != nil {
		t.Error("audit_all is left")
	}
}

func versions(set nodeSet) map[string]string {
	out := map[string]string{}
	for name, r := range set {
		text, _ := marshal(r)
		out[name] = resourceVersion(text)
	}
	return out
}

// TestANodeRefusesWhatItDoesNotKnow: a feature, and a field in any message, however deep.
func TestANodeRefusesWhatItDoesNotKnow(t *testing.T) {
	strange := protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 1)
	for name, change := range map[string]func(nodeSet, clusterSet){
		"a feature":             func(n nodeSet, _ clusterSet) { n["class/class"].Needs = []string{"jwt", "time-of-day"} },
		"a feature of a table":  func(n nodeSet, _ clusterSet) { n["table/in"].Needs = []string{"time-of-day"} },
		"a field of a resource": func(n nodeSet, _ clusterSet) { n["class/class"].ProtoReflect().SetUnknown(strange) },
		"a field of a class":    func(n nodeSet, _ clusterSet) { n["class/class"].GetClass().ProtoReflect().SetUnknown(strange) },
		"a field of a rule": func(n nodeSet, _ clusterSet) {
			n["class/class"].GetClass().GetHttp()[0].ProtoReflect().SetUnknown(strange)
		},
		"a field of a path": func(n nodeSet, _ clusterSet) {
			n["class/class"].GetClass().GetHttp()[0].GetPath().ProtoReflect().SetUnknown(strange)
		},
		"a field of a header": func(n nodeSet, _ clusterSet) {
			n["class/class"].GetClass().GetHttp()[0].GetHeaders()[1].ProtoReflect().SetUnknown(strange)
		},
		"a field of a DNS rule": func(n nodeSet, _ clusterSet) {
			n["class/names"].GetClass().GetDns()[0].ProtoReflect().SetUnknown(strange)
		},
		"a field of a TLS rule": func(n nodeSet, _ clusterSet) {
			n["class/inside"].GetClass().GetTls()[0].ProtoReflect().SetUnknown(strange)
		},
		"a field of an entry": func(n nodeSet, _ clusterSet) {
			n["table/in"].GetTable().GetEntries()[0].ProtoReflect().SetUnknown(strange)
		},
		"a field of an endpoint": func(n nodeSet, _ clusterSet) {
			n["endpoint/demo/host"].GetEndpoint().ProtoReflect().SetUnknown(strange)
		},
		"a kind of cluster resource": func(_ nodeSet, c clusterSet) {
			c["address/fd00::/64"] = emptyCluster()
			c["address/fd00::/64"].ProtoReflect().SetUnknown(strange)
		},
	} {
		t.Run(name, func(t *testing.T) {
			node, cluster := resources(t, samplePolicy("node1"))
			change(node, cluster)
			if _, err := Assemble("node1", node, cluster); err == nil || !strings.Contains(err.Error(), "this version does not know") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// TestAnOlderNode: what it is served is closed from the first response on, follows each change,
// and is said to the operator; a newer enforcer on the same node gets the whole.
func TestAnOlderNode(t *testing.T) {
	class, _ := needy(featureJWT, false)
	o, np := newOperator(t), needyPolicy(class)
	o.publish(np)
	config := o.config("node1")
	old, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	old.features = slices.DeleteFunc(Features(), func(f string) bool { return f == featureJWT })
	stop := start(t, old)
	paths := func(u Update) (out []string) {
		for _, r := range u.NodePolicy.Classes[0].HTTP {
			out = append(out, r.Path.Value)
		}
		return out
	}
	first := next(t, old)
	if got := paths(first); !slices.Equal(got, []string{"/"}) {
		t.Fatalf("the older node has %q", got)
	}
	whole, _ := resources(t, np)
	o.eventually(t, "what it was served", func() bool {
		got := o.restricted["node1"]
		return got.Version == first.NodeVersion && got.Of == whole[CheckpointName].GetCheckpoint().GetVersion() && slices.Equal(got.Lacks, []string{featureJWT})
	})
	for i := range np.Classes {
		np.Classes[i].HTTP = slices.Clone(np.Classes[i].HTTP)
		np.Classes[i].HTTP[1].Path.Value = "/later"
	}
	o.publish(np)
	second := next(t, old)
	if got := paths(second); !slices.Equal(got, []string{"/later"}) {
		t.Fatalf("the older node has %q", got)
	}
	stop()
	newer, _ := run(t, config)
	if got := paths(next(t, newer)); !slices.Equal(got, []string{"/admin", "/later"}) {
		t.Fatalf("the newer enforcer has %q", got)
	}
	o.eventually(t, "the old form to be gone", func() bool {
		o.server.caches.restrictedMu.Lock()
		defer o.server.caches.restrictedMu.Unlock()
		return len(o.server.caches.restricted) == 0
	})
}

// TestANewerOperator: a node that is sent a condition which it does not know refuses the whole,
// and what it had stays in force.
func TestANewerOperator(t *testing.T) {
	o := newOperator(t)
	o.publish(samplePolicy("node1"))
	c, _ := run(t, o.config("node1"))
	if first := next(t, c); len(first.NodePolicy.Classes) == 0 {
		t.Fatal("no classes")
	}
	np := samplePolicy("node1")
	np.Classes[0].HTTP[1].Path = policy.StringMatch{Kind: policy.MatchExact, Value: "/new"}
	node, cluster := resources(t, np)
	node["class/class"].GetClass().GetHttp()[1].ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	seal(t, node)
	if err := o.server.Publish(Publication{Cluster: cluster, Nodes: map[string]map[string]*septumpb.NodeResource{"node1": node}}); err != nil {
		t.Fatal(err)
	}
	o.eventually(t, "a refusal that says why", func() bool {
		return len(o.refused["node1"]) == 1 && strings.Contains(o.refused["node1"][0].Error(), "HTTPRule has a field that this version does not know")
	})
	select {
	case u := <-c.Updates():
		t.Errorf("the node carries it out: %v", u.NodePolicy.Classes)
	default:
	}
	o.publish(samplePolicy("node1"))
	o.eventually(t, "the stream to go on", func() bool { return o.acked > 3 && o.connected["node1"] == 1 })
}

// seal gives a set that was changed its checkpoint.
func seal(t *testing.T, node nodeSet) {
	t.Helper()
	version, err := setVersion(node)
	if err != nil {
		t.Fatal(err)
	}
	node[CheckpointName].GetCheckpoint().Version = version
}
