package flow

import (
	"fmt"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Bounds of what a client may ask, which is looked at for every flow.
const (
	maxFilters = 64
	maxValues  = 128
	maxPattern = 1024
)

// test says whether a flow is meant.
type test func(*flowpb.Flow) bool

// filter is the alternatives of a white or black list.
type filter []test

// some is true if one of the alternatives is meant.
func (f filter) some(flow *flowpb.Flow) bool {
	for _, t := range f {
		if t(flow) {
			return true
		}
	}
	return false
}

// selection is what a client asked for.
type selection struct{ white, black filter }

func newSelection(white, black []*flowpb.FlowFilter) (selection, error) {
	if n := len(white) + len(black); n > maxFilters {
		return selection{}, fmt.Errorf("%d filters are more than %d", n, maxFilters)
	}
	var s selection
	var err error
	if s.white, err = newFilter(white); err != nil {
		return s, err
	}
	s.black, err = newFilter(black)
	return s, err
}

func (s selection) has(f *flowpb.Flow) bool {
	return (len(s.white) == 0 || s.white.some(f)) && !s.black.some(f)
}

func newFilter(list []*flowpb.FlowFilter) (filter, error) {
	var out filter
	for _, ff := range list {
		t, err := newTest(ff)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// newTest returns the test for all fields of a filter that are set. A field that no test
// is known for is an error: to leave it out would show what was not asked for.
func newTest(ff *flowpb.FlowFilter) (test, error) {
	var all []test
	var failed error
	known := fieldTests()
	ff.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		make := known[fd.Name()]
		switch {
		case make == nil:
			failed = fmt.Errorf("filter %s is not supported", fd.Name())
		case fd.IsList() && v.List().Len() > maxValues:
			failed = fmt.Errorf("filter %s has more than %d values", fd.Name(), maxValues)
		default:
			t, err := make(ff)
			if err != nil {
				failed = fmt.Errorf("filter %s: %w", fd.Name(), err)
			}
			all = append(all, t)
		}
		return failed == nil
	})
	if failed != nil {
		return nil, failed
	}
	return func(f *flowpb.Flow) bool {
		for _, t := range all {
			if !t(f) {
				return false
			}
		}
		return true
	}, nil
}
