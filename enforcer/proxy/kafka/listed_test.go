package kafka

import (
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/septum-dev/septum/enforcer/proxy/kafka/kafkatest"
)

// Every version of what is answered name by name is read to its end, and all names are answered.
func TestListedOfAllVersions(t *testing.T) {
	m := newMessages()
	for key := range m.listed {
		for version := int16(0); version <= m.latest[key]; version++ {
			n := 0
			q := kmsg.RequestForKey(key)
			kafkatest.Fill(reflect.ValueOf(q).Elem(), &n)
			q.SetVersion(version)
			answer, code, err := m.listedAnswer(&request{key: key, version: version, frame: q.AppendTo(nil)})
			if err != nil || answer == nil || code == 0 {
				t.Errorf("version %d of key %d: %v, error %d, %v", version, key, answer, code, err)
				continue
			}
			if key == keyCoordinator && version < 4 {
				continue
			}
			v := reflect.ValueOf(answer).Elem()
			for _, name := range []string{"Topics", "Resources", "Coordinators"} {
				if f := v.FieldByName(name); f.IsValid() && f.Len() != 2 {
					t.Errorf("version %d of key %d: %d answers, want 2", version, key, f.Len())
				}
			}
			bodyOf(answer, version)
		}
	}
}
