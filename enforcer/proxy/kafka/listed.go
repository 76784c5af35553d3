package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The keys of requests that are judged as a whole, but whose answers have an error for each
// thing that they name: without it, clients ask again until their own patience ends.
const (
	keyDescribeGroups   = 15
	keyCreateTopics     = 19
	keyDeleteTopics     = 20
	keyDeleteRecords    = 21
	keyCreateACLs       = 30
	keyDeleteACLs       = 31
	keyDescribeConfigs  = 32
	keyAlterConfigs     = 33
	keyAlterLogDirs     = 34
	keyCreatePartitions = 37
	keyDeleteGroups     = 42
	keyIncrementConfigs = 44
	keyAlterSCRAM       = 51
	keyProducers        = 61
	keyTransactions     = 65
	keyConsumerGroups   = 69
	keyShareGroups      = 77
	keyStreamsGroups    = 89
	keyShareOffsets     = 90
)

// listed are the shapes of these requests. What they name stands where others have topics.
func listed() map[int16]*shape {
	return map[int16]*shape{
		keyCoordinator:      newShape(3, 6, "s-3 b1- topics:*s4-"),
		keyDescribeGroups:   newShape(5, 6, "topics:*s b3-"),
		keyCreateTopics:     newShape(5, 7, "topics:[ name:s i h [ i *i ] [ s s ] ] i b1-"),
		keyDeleteTopics:     newShape(4, 6, "topics:*s-5 topics:[6- name:s id:u ] i"),
		keyDeleteRecords:    newShape(2, 2, "topics:[ name:s [ index:i l ] ] i"),
		keyCreateACLs:       newShape(2, 3, "topics:[ b name:s b1- s s b b ]"),
		keyDeleteACLs:       newShape(2, 3, "topics:[ b name:s b1- s s b b ]"),
		keyDescribeConfigs:  newShape(4, 4, "topics:[ b name:s *s ] b1- b3-"),
		keyAlterConfigs:     newShape(2, 2, "topics:[ b name:s [ s s ] ] b"),
		keyAlterLogDirs:     newShape(2, 2, "[ s topics:[ name:s index:*i ] ]"),
		keyCreatePartitions: newShape(2, 3, "topics:[ name:s i [ *i ] ] i b"),
		keyDeleteGroups:     newShape(2, 3, "topics:*s"),
		keyIncrementConfigs: newShape(1, 1, "topics:[ b name:s [ s b s ] ] b"),
		keyAlterSCRAM:       newShape(0, 0, "topics:[ name:s b ] topics:[ name:s b i B B ]"),
		keyProducers:        newShape(0, 0, "topics:[ name:s index:*i ]"),
		keyTransactions:     newShape(0, 0, "topics:*s"),
		keyConsumerGroups:   newShape(0, 1, "topics:*s b"),
		keyShareGroups:      newShape(0, 1, "topics:*s b"),
		keyStreamsGroups:    newShape(0, 1, "topics:*s b b1-"),
		keyShareOffsets:     newShape(0, 1, "topics:[ name:s [ s *i ] ]"),
	}
}

// listedAnswer is the answer to such a request of which nothing is done; nil is for any other.
func (m *messages) listedAnswer(r *request) (answer kmsg.Response, code int16, err error) {
	s := m.listed[r.key]
	if s == nil {
		return nil, 0, nil
	}
	found, err := s.walk(r.version, r.body())
	if err != nil {
		return nil, 0, r.refuse("not Kafka: %v", err)
	}
	code = wholeCode(r.key)
	var all []wrong
	for _, l := range found.lists {
		for _, t := range l.topics {
			w := wrong{topic: t, code: code}
			if r.key == keyDescribeConfigs || r.key == keyAlterConfigs || r.key == keyIncrementConfigs {
				// These name resources by their kind, which stands before the name, too.
				w.kind = kmsg.ConfigResourceType(int8(r.body()[t.at]))
				if w.kind != kmsg.ConfigResourceTypeTopic {
					w.code = errClusterDenied
				}
			}
			all = append(all, w)
		}
	}
	return m.answerFor(r.key, r.version, [][]wrong{all}, nil), code, nil
}
