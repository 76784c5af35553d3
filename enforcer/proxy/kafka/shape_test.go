package kafka

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/septum-dev/septum/enforcer/proxy/kafka/kafkatest"
)

// Every version of every message that is walked is read to its last byte, with all its topics.
func TestShapesOfAllVersions(t *testing.T) {
	m := newMessages()
	for key, x := range m.exchanges {
		for version := int16(0); version <= m.latest[key]; version++ {
			check := func(name string, s *shape, body []byte) {
				got, err := s.walk(version, body)
				if err != nil {
					t.Errorf("%s %d of key %d: %v", name, version, key, err)
					return
				}
				if len(got.lists) == 0 {
					t.Errorf("%s %d of key %d has no topics", name, version, key)
				}
				for _, l := range got.lists {
					if len(l.topics) != 2 || l.topics[0].name == "" && l.topics[0].id == [16]byte{} {
						t.Errorf("%s %d of key %d: %+v", name, version, key, l)
					}
				}
				same := edit(body, got, version >= s.flexible, func(int, int) bool { return true }, func(int) (int, []byte) { return 0, nil })
				if string(same) != string(body) {
					t.Errorf("%s %d of key %d is not the same after an edit that changes nothing", name, version, key)
				}
			}
			n := 0
			q := kmsg.RequestForKey(key)
			kafkatest.Fill(reflect.ValueOf(q).Elem(), &n)
			q.SetVersion(version)
			check("request", x.request, q.AppendTo(nil))
			if x.response == nil {
				continue
			}
			r := kmsg.ResponseForKey(key)
			kafkatest.Fill(reflect.ValueOf(r).Elem(), &n)
			r.SetVersion(version)
			check("response", x.response, r.AppendTo(nil))
		}
	}
}

// What claims to be long and is not costs nothing.
func TestClaimsAreBounded(t *testing.T) {
	m := newMessages()
	huge := binary.AppendUvarint(nil, 1<<28)
	for key, x := range m.exchanges {
		for version := int16(0); version <= m.latest[key]; version++ {
			for _, s := range []*shape{x.request, x.response} {
				if s == nil {
					continue
				}
				begun := time.Now()
				for at := range 32 {
					body := append(make([]byte, at), huge...)
					if m, err := s.walk(version, body); err == nil && m.topics > len(body) {
						t.Errorf("key %d version %d: %d topics in %d bytes", key, version, m.topics, len(body))
					}
				}
				if took := time.Since(begun); took > 5*time.Second {
					t.Errorf("key %d version %d took %v", key, version, took)
				}
			}
		}
	}
}

func FuzzWalk(f *testing.F) {
	m := newMessages()
	for key := range m.exchanges {
		n := 0
		q := kmsg.RequestForKey(key)
		kafkatest.Fill(reflect.ValueOf(q).Elem(), &n)
		q.SetVersion(m.latest[key])
		f.Add(byte(key), byte(m.latest[key]), q.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, key, version byte, body []byte) {
		x, ok := m.exchanges[int16(key)]
		if !ok || int16(version) > m.latest[int16(key)] {
			return
		}
		for _, s := range []*shape{x.request, x.response} {
			if s == nil {
				continue
			}
			got, err := s.walk(int16(version), body)
			if err != nil {
				continue
			}
			flexible := int16(version) >= s.flexible
			less := edit(body, got, flexible, func(int, int) bool { return false }, func(int) (int, []byte) { return 0, nil })
			if again, err := s.walk(int16(version), less); err != nil || again.topics != 0 {
				t.Errorf("without topics: %d of them, %v", again.topics, err)
			}
		}
		if _, err := m.known(int16(version), body); err != nil {
			return
		}
	})
}
