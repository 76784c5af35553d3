package xds

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

// What one node may be sent at most. More than that is an error, not work.
const (
	maxEndpoints  = 8192
	maxTables     = 16384
	maxClasses    = int(policy.LastClassPort-policy.FirstClassPort) + 1
	maxEntries    = 1 << 20 // over all tables
	maxApplied    = 65536
	maxAddresses  = 1 << 20
	maxIdentities = 1 << 18
	maxList       = 4096 // elements of one small list
	maxSecrets    = 4096
	maxSecret     = 1 << 20 // bytes of one secret's value
)

var errMissingCheckpoint = errors.New("there is no checkpoint")

// Assemble is the way back from [NodeResources] and [ClusterResources]: what the
// resources say to the node of that name. It trusts nothing in them: an error names the
// first resource that is wrong, and nothing is returned with it.
func Assemble(nodeName string, node map[string]*septumpb.NodeResource, cluster map[string]*septumpb.ClusterResource) (policy.NodePolicy, error) {
	if err := allUnderstood(node); err != nil {
		return policy.NodePolicy{}, err
	}
	out, err := assembleNode(nodeName, node)
	if err != nil {
		return policy.NodePolicy{}, fmt.Errorf("node resources: %w", err)
	}
	out.Addresses, out.Identities, err = assembleCluster(nodeName, cluster)
	if err != nil {
		return policy.NodePolicy{}, fmt.Errorf("cluster resources: %w", err)
	}
	return out, nil
}

// assembleNode fills everything but Addresses and Identities.
func assembleNode(nodeName string, in map[string]*septumpb.NodeResource) (policy.NodePolicy, error) {
	out := policy.NodePolicy{Node: nodeName}
	var checkpoint *septumpb.Checkpoint
	entries := 0
	for _, name := range slices.Sorted(maps.Keys(in)) {
		var want string
		var err error
		switch r := in[name].GetResource().(type) {
		case *septumpb.NodeResource_Endpoint:
			var e policy.EndpointPolicy
			e, err = endpointFromProto(r.Endpoint)
			out.Endpoints, want = append(out.Endpoints, e), endpointPrefix+e.Key
		case *septumpb.NodeResource_Table:
			var t policy.Table
			if entries += len(r.Table.GetEntries()); entries > maxEntries {
				return out, fmt.Errorf("more than %d entries", maxEntries)
			}
			t, err = tableFromProto(r.Table)
			out.Tables, want = append(out.Tables, t), tablePrefix+string(t.ID)
		case *septumpb.NodeResource_Class:
			var c policy.Class
			c, err = classFromProto(r.Class)
			out.Classes, want = append(out.Classes, c), classPrefix+string(c.ID)
		case *septumpb.NodeResource_Secret:
			var s policy.Secret
			s, err = secretFromProto(r.Secret)
			out.Secrets, want = append(out.Secrets, s), secretPrefix+string(s.ID)
		case *septumpb.NodeResource_Checkpoint:
			checkpoint, want = r.Checkpoint, CheckpointName
		default:
			return out, fmt.Errorf("%s: empty, or of a kind that this version does not know", quote(name))
		}
		if err != nil {
			return out, fmt.Errorf("%s: %w", quote(name), err)
		}
		if name != want {
			return out, fmt.Errorf("%s: holds %s", quote(name), quote(want))
		}
	}
	if checkpoint == nil {
		return out, errMissingCheckpoint
	}
	if err := errors.Join(atMost("endpoints", len(out.Endpoints), maxEndpoints), atMost("tables", len(out.Tables), maxTables),
		atMost("classes", len(out.Classes), maxClasses), atMost("secrets", len(out.Secrets), maxSecrets)); err != nil {
		return out, err
	}
	applied, err := appliedFromProto(checkpoint.GetPolicies())
	if err != nil {
		return out, fmt.Errorf("%s: %w", CheckpointName, err)
	}
	out.Applied = applied
	slices.SortFunc(out.Endpoints, func(a, b policy.EndpointPolicy) int { return cmp.Compare(a.Key, b.Key) })
	slices.SortFunc(out.Tables, func(a, b policy.Table) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(out.Classes, func(a, b policy.Class) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(out.Secrets, policy.CompareSecrets)
	return out, checkReferences(out)
}

// checkReferences wants every table and class that is named to exist, in the same direction.
func checkReferences(np policy.NodePolicy) error {
	classes := make(map[policy.ClassID]policy.Direction, len(np.Classes))
	for _, c := range np.Classes {
		classes[c.ID] = c.Direction
	}
	tables := make(map[policy.TableID]policy.Direction, len(np.Tables))
	for _, t := range np.Tables {
		tables[t.ID] = t.Direction
		for i, e := range t.Entries {
			if e.Verdict != policy.Redirected {
				continue
			}
			if direction, ok := classes[e.Class]; !ok || direction != t.Direction {
				return fmt.Errorf("table %s: entry %d: there is no such class in this direction: %s", quote(string(t.ID)), i, quote(string(e.Class)))
			}
		}
	}
	for _, e := range np.Endpoints {
		for direction, id := range map[policy.Direction]policy.TableID{policy.Ingress: e.Ingress, policy.Egress: e.Egress} {
			if id == "" {
				continue
			}
			if got, ok := tables[id]; !ok || got != direction {
				return fmt.Errorf("endpoint %s: there is no such table in this direction: %s", quote(e.Key), quote(string(id)))
			}
		}
	}
	return nil
}

// assembleCluster returns the addresses and identities as the node of that name sees
// them: its own addresses are IdentityHost to it.
func assembleCluster(nodeName string, in map[string]*septumpb.ClusterResource) ([]policy.Address, []policy.IdentityLabels, error) {
	if err := atMost("resources", len(in), maxAddresses+maxIdentities+1); err != nil {
		return nil, nil, err
	}
	var addresses []policy.Address
	var identities []policy.IdentityLabels
	checkpoint := false
	for name, resource := range in {
		var want string
		var err error
		switch r := resource.GetResource().(type) {
		case *septumpb.ClusterResource_Address:
			var a policy.Address
			a, err = addressFromProto(r.Address)
			if a.Node == nodeName && isNode(a) {
				a.Identity = policy.IdentityHost
			}
			addresses, want = append(addresses, a), addressPrefix+a.Prefix.String()
		case *septumpb.ClusterResource_Identity:
			var i policy.IdentityLabels
			i, err = identityFromProto(r.Identity)
			identities, want = append(identities, i), identityPrefix+strconv.FormatUint(uint64(i.Identity), 10)
		case *septumpb.ClusterResource_Checkpoint:
			checkpoint, want = true, CheckpointName
		default:
			return nil, nil, fmt.Errorf("%s: empty, or of a kind that this version does not know", quote(name))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", quote(name), err)
		}
		if name != want {
			return nil, nil, fmt.Errorf("%s: holds %s", quote(name), quote(want))
		}
	}
	if !checkpoint {
		return nil, nil, errMissingCheckpoint
	}
	slices.SortFunc(addresses, policy.CompareAddresses)
	slices.SortFunc(identities, func(a, b policy.IdentityLabels) int { return cmp.Compare(a.Identity, b.Identity) })
	return addresses, identities, nil
}

// isNode says whether the address is a node's own, and not its pods' or a range.
func isNode(a policy.Address) bool {
	return a.Pod == "" && a.Prefix.IsSingleIP() && a.Identity.IsNode()
}

func addressFromProto(in *septumpb.Address) (policy.Address, error) {
	prefix, err := netip.ParsePrefix(in.GetPrefix())
	if err != nil || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
		return policy.Address{}, fmt.Errorf("prefix: %s is not a CIDR in its shortest form", quote(in.GetPrefix()))
	}
	if in.GetIdentity() == 0 {
		return policy.Address{}, errors.New("identity: 0 is no identity")
	}
	err = errors.Join(wire.Text("node", in.GetNode()), wire.Text("namespace", in.GetNamespace()), wire.Text("pod", in.GetPod()), wire.Text("workload", in.GetWorkload()), wire.Text("service", in.GetService()))
	return policy.Address{
		Prefix: prefix, Identity: policy.Identity(in.GetIdentity()), Node: in.GetNode(),
		Namespace: in.GetNamespace(), Pod: in.GetPod(), Workload: in.GetWorkload(), Service: in.GetService(),
	}, err
}

func identityFromProto(in *septumpb.IdentityLabels) (policy.IdentityLabels, error) {
	if in.GetIdentity() == 0 {
		return policy.IdentityLabels{}, errors.New("identity: 0 is no identity")
	}
	if err := atMost("labels", len(in.GetLabels()), policy.MaxIdentityLabels); err != nil {
		return policy.IdentityLabels{}, err
	}
	for key, value := range in.GetLabels() {
		if err := errors.Join(wire.Text("label key", key), wire.Text("label value", value)); err != nil {
			return policy.IdentityLabels{}, err
		}
	}
	return policy.IdentityLabels{Identity: policy.Identity(in.GetIdentity()), Labels: in.GetLabels()}, nil
}
