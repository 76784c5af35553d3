package flow

import (
	"errors"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// mask is the fields that a client wants, by name: those below a message, or nil for all
// of it. A nil mask is everything.
type mask map[protoreflect.Name]mask

func newMask(m *fieldmaskpb.FieldMask) (mask, error) {
	if len(m.GetPaths()) == 0 {
		return nil, nil
	}
	if len(m.GetPaths()) > maxValues || !m.IsValid(&flowpb.Flow{}) {
		return nil, errors.New("the field mask is not one of a flow")
	}
	m.Normalize()
	out := mask{}
	for _, path := range m.GetPaths() {
		at := out
		names := strings.Split(path, ".")
		for i, name := range names {
			if i == len(names)-1 {
				at[protoreflect.Name(name)] = nil
				break
			}
			if at[protoreflect.Name(name)] == nil {
				at[protoreflect.Name(name)] = mask{}
			}
			at = at[protoreflect.Name(name)]
		}
	}
	return out, nil
}

// apply returns the flow with what the mask names. Flows are shared: f itself stays.
func (m mask) apply(f *flowpb.Flow) *flowpb.Flow {
	if m == nil {
		return f
	}
	out := &flowpb.Flow{}
	m.copy(f.ProtoReflect(), out.ProtoReflect())
	return out
}

func (m mask) copy(from, to protoreflect.Message) {
	for name, below := range m {
		fd := from.Descriptor().Fields().ByName(name)
		if fd == nil || !from.Has(fd) {
			continue
		}
		if below == nil || fd.Message() == nil || fd.IsList() {
			to.Set(fd, from.Get(fd))
			continue
		}
		below.copy(from.Get(fd).Message(), to.Mutable(fd).Message())
	}
}
