package xds

import (
	"maps"
	"strconv"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

// The type URLs of the two kinds of resources.
const (
	NodeType    = "type.googleapis.com/septum.xds.v1alpha1.NodeResource"
	ClusterType = "type.googleapis.com/septum.xds.v1alpha1.ClusterResource"
)

// CheckpointName is the name of the resource that closes a set.
const CheckpointName = "checkpoint"

// The names of the other resources begin with these.
const (
	endpointPrefix = "endpoint/"
	tablePrefix    = "table/"
	classPrefix    = "class/"
	secretPrefix   = "secret/"
	addressPrefix  = "address/"
	identityPrefix = "identity/"
)

// NodeResources returns the resources that only np's node gets, by name, with their
// checkpoint. For many nodes, use a [NodeWriter].
func NodeResources(np policy.NodePolicy) (map[string]*septumpb.NodeResource, error) {
	return new(NodeWriter).Resources(np)
}

// ClusterResources returns the resources that every node gets, by name, with their
// checkpoint: np's Addresses and Identities, as policy.Compiled.Cluster has them. What is
// IdentityHost to one node is IdentityRemoteNode here, and [Assemble] turns it back.
func ClusterResources(np policy.NodePolicy) (map[string]*septumpb.ClusterResource, error) {
	out := make(map[string]*septumpb.ClusterResource, len(np.Addresses)+len(np.Identities)+1)
	for _, a := range np.Addresses {
		identity := a.Identity
		if identity == policy.IdentityHost {
			identity = policy.IdentityRemoteNode
		}
		out[addressPrefix+a.Prefix.String()] = &septumpb.ClusterResource{Resource: &septumpb.ClusterResource_Address{Address: &septumpb.Address{
			Prefix: a.Prefix.String(), Identity: uint32(identity), Node: a.Node,
			Namespace: a.Namespace, Pod: a.Pod, Workload: a.Workload, Service: a.Service,
		}}}
	}
	for _, i := range np.Identities {
		name := identityPrefix + strconv.FormatUint(uint64(i.Identity), 10)
		out[name] = &septumpb.ClusterResource{Resource: &septumpb.ClusterResource_Identity{Identity: &septumpb.IdentityLabels{
			Identity: uint32(i.Identity), Labels: maps.Clone(i.Labels),
		}}}
	}
	version, err := setVersion(out)
	if err != nil {
		return nil, err
	}
	out[CheckpointName] = &septumpb.ClusterResource{Resource: &septumpb.ClusterResource_Checkpoint{
		Checkpoint: &septumpb.Checkpoint{Version: version},
	}}
	return out, nil
}

func endpointToProto(e policy.EndpointPolicy) *septumpb.Endpoint {
	out := &septumpb.Endpoint{
		Key: e.Key, Uid: e.UID, Identity: uint32(e.Identity), HostNetwork: e.HostNetwork,
		IngressTable: string(e.Ingress), EgressTable: string(e.Egress),
	}
	for _, a := range e.Addrs {
		out.Addresses = append(out.Addresses, a.String())
	}
	return out
}

// tableToProto writes each rule once: entries name them by index.
func tableToProto(t policy.Table) *septumpb.Table {
	out := &septumpb.Table{Id: string(t.ID), Direction: uint32(t.Direction), DefaultDeny: t.DefaultDeny, Audit: t.Audit, AuditRest: t.AuditRest}
	for _, p := range t.Denying {
		out.Denying = append(out.Denying, &septumpb.PolicyRef{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name})
	}
	index := map[policy.RuleID]uint32{}
	for _, e := range t.Entries {
		entry := &septumpb.Entry{
			Identity: uint32(e.Identity), Protocol: uint32(e.Protocol), Port: uint32(e.Port),
			PrefixLen: uint32(e.PrefixLen), Verdict: uint32(e.Verdict), Class: string(e.Class),
		}
		for _, r := range e.Rules {
			i, known := index[r]
			if !known {
				i = uint32(len(out.Rules))
				index[r] = i
				out.Rules = append(out.Rules, ruleToProto(r))
			}
			entry.Rules = append(entry.Rules, i)
		}
		out.Entries = append(out.Entries, entry)
	}
	return out
}

func ruleToProto(r policy.RuleID) *septumpb.RuleID { return wire.Rule(r) }

func classToProto(c policy.Class) *septumpb.Class {
	out := wire.Class(c)
	out.Failure = uint32(c.Failure)
	for _, r := range c.TLS {
		out.Tls = append(out.Tls, tlsToProto(r))
	}
	out.Jwks = keySets(c)
	for _, r := range c.HTTP {
		rule := &septumpb.HTTPRule{
			Id: ruleToProto(r.ID), Action: uint32(r.Action), Audit: r.Audit, Path: matchToProto(r.Path),
			Methods: matchesToProto(r.Methods), Hosts: matchesToProto(r.Hosts), Names: namesToProto(r.Names),
			Jwt: jwtToProto(r.JWT, out.Jwks), RateLimit: rateToProto(r.Rate),
		}
		for _, h := range r.Headers {
			rule.Headers = append(rule.Headers, &septumpb.HeaderMatch{Name: h.Name, Value: matchToProto(h.Value), Mismatch: uint32(h.Mismatch), Secret: string(h.Secret)})
		}
		out.Http = append(out.Http, rule)
	}
	return out
}

func matchesToProto(in []policy.StringMatch) []*septumpb.StringMatch {
	var out []*septumpb.StringMatch
	for _, m := range in {
		out = append(out, matchToProto(m))
	}
	return out
}

func matchToProto(m policy.StringMatch) *septumpb.StringMatch {
	return &septumpb.StringMatch{Kind: uint32(m.Kind), Value: m.Value}
}
