package kafka

import (
	"encoding/binary"
	"errors"
)

// message is what was found in a body. Offsets are from its beginning.
type message struct {
	lists []list
	acks  int16
	// session and epoch are those of a Fetch, and where they stand.
	session            int32
	sessionAt, epochAt int
	// topics and partitions are how many were found.
	topics, partitions int
	// end is where the message ends.
	end int
}

// list is one array of topics: at is its count, first its first element.
type list struct {
	at, first, end int
	null           bool
	group          string
	topics         []topic
}

type topic struct {
	at, end int
	// name is "" where the topic has an id alone.
	name       string
	id         [16]byte
	partitions []int32
}

// The most topics and partitions that one message may have.
const (
	maxTopics     = 100_000
	maxPartitions = 1_000_000
)

var (
	errShort   = errors.New("the message is cut short")
	errTooMany = errors.New("the message has too many topics or partitions")
	errTail    = errors.New("the message has a tail that belongs to nothing")
	errEnd     = errors.New("the walk ends here")
)

// appendCount writes the length of an array.
func appendCount(to []byte, n int, flexible bool) []byte {
	if flexible {
		return binary.AppendUvarint(to, uint64(n)+1)
	}
	return binary.BigEndian.AppendUint32(to, uint32(n))
}

// edit returns a body with other topics in its lists: keep says which of the old ones stay,
// and add gives what comes before them.
func edit(body []byte, m *message, flexible bool, keep func(list, topic int) bool, add func(list int) (n int, elements []byte)) []byte {
	out := make([]byte, 0, len(body)+64)
	at := 0
	for i, l := range m.lists {
		out = append(out, body[at:l.at]...)
		at = l.end
		n, elements := add(i)
		if l.null && n == 0 {
			out = append(out, body[l.at:l.end]...)
			continue
		}
		var rest []byte
		for j, t := range l.topics {
			if keep(i, j) {
				rest = append(rest, body[t.at:t.end]...)
				n++
			}
		}
		out = appendCount(out, n, flexible)
		out = append(append(out, elements...), rest...)
	}
	return append(out, body[at:]...)
}
