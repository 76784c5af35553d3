package wire

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Known refuses a message that has, itself or inside, a field which this version does not know:
// it may be the condition that keeps a rule closed.
func Known(m protoreflect.Message) error {
	if len(m.GetUnknown()) > 0 {
		return fmt.Errorf("%s has a field that this version does not know", m.Descriptor().Name())
	}
	var err error
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap() || field.Message() == nil: // maps are of texts
		case field.IsList():
			for i, list := 0, value.List(); i < list.Len() && err == nil; i++ {
				err = Known(list.Get(i).Message())
			}
		default:
			err = Known(value.Message())
		}
		return err == nil
	})
	return err
}
