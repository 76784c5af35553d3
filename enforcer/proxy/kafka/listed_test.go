package kafka

import (
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/septum-dev/septum/enforcer/proxy/kafka/kafkatest"
	"github.com/septum-dev/septum/policy"
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
			found, err := m.listed[key].walk(version, q.AppendTo(nil))
			if err != nil {
				t.Fatal(err)
			}
			list := reflect.ValueOf(answer).Elem().FieldByName(m.places[key].list)
			if list.Len() != found.topics || found.topics < 2 {
				t.Errorf("version %d of key %d: %d answers, want %d", version, key, list.Len(), found.topics)
			}
			if f := list.Index(0).FieldByName("ErrorCode"); f.IsValid() && f.Int() == 0 {
				t.Errorf("version %d of key %d: no error", version, key)
			}
			bodyOf(answer, version)
		}
	}
}

// What is denied is answered, but for what brokers say to each other and what has no place for an error.
func TestDeniedKeysAreAnswered(t *testing.T) {
	m := newMessages()
	var reset []string
	for key := range m.latest {
		if _, ok := m.exchanges[key]; ok || m.listed[key] != nil || key == keyVersions {
			continue
		}
		if answer, _ := wholeAnswer(key); answer == nil {
			reset = append(reset, policy.KafkaKey(key).String())
		}
	}
	slices.Sort(reset)
	if want := []string{"AlterClientQuotas", "WriteTxnMarkers"}; !slices.Equal(reset, want) {
		t.Errorf("the connection is reset for %q, want %q", reset, want)
	}
}
