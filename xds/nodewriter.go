package xds

import (
	"fmt"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// NodeWriter makes the resources of the nodes of one compile. Tables and classes, which
// nodes share, are written and hashed once, however many nodes get them. The zero value
// is ready; it is for one goroutine.
type NodeWriter struct{ shared map[string]written }

type written struct {
	resource *septumpb.NodeResource
	version  string
}

// Resources returns the resources that only np's node gets, by name, with their checkpoint.
func (w *NodeWriter) Resources(np policy.NodePolicy) (map[string]*septumpb.NodeResource, error) {
	n := len(np.Endpoints) + len(np.Tables) + len(np.Classes) + len(np.Secrets) + 1
	out, versions := make(map[string]*septumpb.NodeResource, n), make(map[string]string, n)
	add := func(name string, made written, err error) error {
		out[name], versions[name] = made.resource, made.version
		return err
	}
	for _, e := range np.Endpoints {
		made, err := write(&septumpb.NodeResource{Resource: &septumpb.NodeResource_Endpoint{Endpoint: endpointToProto(e)}})
		if err := add(endpointPrefix+e.Key, made, err); err != nil {
			return nil, err
		}
	}
	for _, t := range np.Tables {
		name := tablePrefix + string(t.ID)
		made, err := w.once(name, func() *septumpb.NodeResource {
			return &septumpb.NodeResource{Resource: &septumpb.NodeResource_Table{Table: tableToProto(t)}}
		})
		if err := add(name, made, err); err != nil {
			return nil, err
		}
	}
	for _, c := range np.Classes {
		name := classPrefix + string(c.ID)
		made, err := w.once(name, func() *septumpb.NodeResource {
			return classResource(classToProto(c))
		})
		if err := add(name, made, err); err != nil {
			return nil, err
		}
	}
	for _, s := range np.Secrets {
		made, err := write(&septumpb.NodeResource{Resource: &septumpb.NodeResource_Secret{Secret: secretToProto(s)}})
		if err := add(secretPrefix+string(s.ID), made, err); err != nil {
			return nil, err
		}
	}
	checkpoint := &septumpb.Checkpoint{Version: checkpointVersion(versions)}
	for _, a := range np.Applied {
		checkpoint.Policies = append(checkpoint.Policies, &septumpb.AppliedPolicy{
			Kind: a.Ref.Kind, Namespace: a.Ref.Namespace, Name: a.Ref.Name, Uid: a.UID, Generation: a.Generation,
		})
	}
	out[CheckpointName] = &septumpb.NodeResource{Resource: &septumpb.NodeResource_Checkpoint{Checkpoint: checkpoint}}
	return out, nil
}

// once makes what is named by its ID, and finds it again for the next node.
func (w *NodeWriter) once(name string, resource func() *septumpb.NodeResource) (written, error) {
	if made, ok := w.shared[name]; ok {
		return made, nil
	}
	made, err := write(resource())
	if err != nil {
		return written{}, err
	}
	if w.shared == nil {
		w.shared = map[string]written{}
	}
	w.shared[name] = made
	return made, nil
}

func write(resource *septumpb.NodeResource) (written, error) {
	wire, err := marshal(resource)
	if err != nil {
		return written{}, fmt.Errorf("marshal %T: %w", resource.GetResource(), err)
	}
	return written{resource, resourceVersion(wire)}, nil
}
