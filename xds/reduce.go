package xds

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// Restriction says that a node is served a restricted form of its resources, because it does
// not know all features.
type Restriction struct {
	// Version is the checkpoint of what it is served, Of that of what it should hold.
	Version, Of string
	// Lacks are the features that it does not know.
	Lacks []string
}

// Restrict returns the resources for a node that lacks features, with what it cannot judge
// closed: an allow rule that needs one of them is left out; where a deny rule does, or the
// class as a whole, the class allows nothing.
func Restrict(resources map[string]*septumpb.NodeResource, lacks []string) (map[string]*septumpb.NodeResource, error) {
	out := make(map[string]*septumpb.NodeResource, len(resources))
	named := map[string]bool{}
	for name, r := range resources {
		if class := r.GetClass(); class != nil {
			class = restrictClass(class, lacks)
			for _, id := range secretsOf(class) {
				named[id] = true
			}
			r = classResource(class)
		}
		out[name] = r
	}
	for name := range out {
		if id, ok := strings.CutPrefix(name, secretPrefix); ok && !named[id] {
			delete(out, name)
		}
	}
	old := resources[CheckpointName].GetCheckpoint()
	delete(out, CheckpointName)
	version, err := setVersion(out)
	if err != nil {
		return nil, err
	}
	out[CheckpointName] = &septumpb.NodeResource{Resource: &septumpb.NodeResource_Checkpoint{
		Checkpoint: &septumpb.Checkpoint{Version: version, Policies: old.GetPolicies()},
	}}
	return out, nil
}

func classResource(c *septumpb.Class) *septumpb.NodeResource {
	return &septumpb.NodeResource{Resource: &septumpb.NodeResource_Class{Class: c}, Needs: classFeatures(c)}
}

func restrictClass(c *septumpb.Class, lacks []string) *septumpb.Class {
	if !anyOf(classFeatures(c), lacks) {
		return c
	}
	if closesWhole(c, lacks) {
		// A class of HTTP without rules is known to every node, and refuses everything.
		return &septumpb.Class{Id: c.GetId(), Direction: c.GetDirection(), Audit: c.GetAudit()}
	}
	out := proto.CloneOf(c)
	out.Http = slices.DeleteFunc(out.Http, func(r *septumpb.HTTPRule) bool { return anyOf(httpFeatures(r), lacks) })
	out.Tls = slices.DeleteFunc(out.Tls, func(r *septumpb.TLSRule) bool { return anyOf(tlsFeatures(r), lacks) })
	if slices.Contains(lacks, featureAuditAll) {
		out.AuditAll = nil // it only reports
	}
	if slices.Contains(lacks, featureJWT) {
		out.Jwks = nil
	}
	return out
}

// closesWhole says whether nothing of the class can be left: it is of a kind that is not known,
// or a deny rule would have to be left out.
func closesWhole(c *septumpb.Class, lacks []string) bool {
	return slices.Contains(lacks, kindFeature(c.GetKind())) || slices.ContainsFunc(c.GetHttp(), func(r *septumpb.HTTPRule) bool {
		return r.GetAction() == uint32(policy.Deny) && anyOf(httpFeatures(r), lacks)
	})
}

// Needs returns the features that the rules of each policy need on the node of these resources.
func Needs(resources map[string]*septumpb.NodeResource) map[policy.Ref][]string {
	out := map[policy.Ref][]string{}
	for _, r := range resources {
		if c := r.GetClass(); c != nil && len(r.GetNeeds()) > 0 {
			classNeeds(c, out)
		}
	}
	for ref, needs := range out {
		slices.Sort(needs)
		out[ref] = slices.Compact(needs)
	}
	return out
}

func classNeeds(c *septumpb.Class, to map[policy.Ref][]string) {
	var shared []string // what closes the class for everybody in it
	if f := kindFeature(c.GetKind()); f != "" {
		shared = append(shared, f)
	}
	var refs []policy.Ref
	add := func(id *septumpb.RuleID, needs ...string) {
		if id == nil {
			return
		}
		ref := policy.Ref{Kind: id.GetKind(), Namespace: id.GetNamespace(), Name: id.GetName()}
		refs = append(refs, ref)
		if len(needs) > 0 {
			to[ref] = append(to[ref], needs...)
		}
	}
	for _, r := range c.GetHttp() {
		needs := httpFeatures(r)
		if r.GetAction() == uint32(policy.Deny) {
			shared = append(shared, needs...)
		}
		add(r.GetId(), needs...)
	}
	for _, r := range c.GetTls() {
		add(r.GetId(), tlsFeatures(r)...)
	}
	for _, r := range c.GetKafka() {
		add(r.GetId())
	}
	for _, r := range c.GetDns() {
		add(r.GetId())
	}
	add(c.GetAllowAll())
	add(c.GetAuditAll(), featureAuditAll)
	if len(shared) == 0 {
		return
	}
	for _, ref := range refs {
		to[ref] = append(to[ref], shared...)
	}
}

// secretsOf are the secrets that a class names.
func secretsOf(c *septumpb.Class) []string {
	var out []string
	for _, r := range c.GetHttp() {
		for _, h := range r.GetHeaders() {
			out = append(out, h.GetSecret())
		}
	}
	for _, r := range c.GetTls() {
		i := r.GetInspect()
		out = append(out, i.GetCertificate(), i.GetClientCa(), i.GetTrustedCa(), i.GetClientCertificate())
	}
	return out
}

func anyOf(needs, lacks []string) bool {
	return slices.ContainsFunc(needs, func(f string) bool { return slices.Contains(lacks, f) })
}
