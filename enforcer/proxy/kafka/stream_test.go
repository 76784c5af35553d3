package kafka

import (
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/septum-dev/septum/enforcer/proxy/kafka/kafkatest"
)

// What is read from the beginning of a Produce request is what its whole says.
func TestOnlyTopicOfAllVersions(t *testing.T) {
	m := newMessages()
	for version := int16(0); version <= m.latest[keyProduce]; version++ {
		flexible := version >= m.flexible[keyProduce]
		n := 0
		q := kmsg.NewPtrProduceRequest()
		kafkatest.Fill(reflect.ValueOf(q).Elem(), &n)
		q.SetVersion(version)
		if got := onlyTopic(version, flexible, q.AppendTo(nil)); got != nil {
			t.Errorf("version %d: two topics are one: %+v", version, got)
		}
		q.Topics = q.Topics[:1]
		body := q.AppendTo(nil)
		whole, err := m.exchanges[keyProduce].request.walk(version, body)
		if err != nil {
			t.Fatal(err)
		}
		got, want := onlyTopic(version, flexible, body), whole.lists[0].topics[0]
		if got == nil || got.acks != whole.acks || got.lists[0].topics[0].name != want.name || got.lists[0].topics[0].id != want.id {
			t.Errorf("version %d: %+v, want %+v", version, got, want)
		}
		for end := range 8 {
			if got := onlyTopic(version, flexible, body[:end]); got != nil {
				t.Errorf("version %d: a topic in %d bytes: %+v", version, end, got)
			}
		}
	}
}
