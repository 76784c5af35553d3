package kafka

import (
	"encoding/binary"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// firstTagged is the first version of ApiVersions with tags in its body. Its answer's header
// never has any.
const firstTagged = 3

// versions passes ApiVersions on, and leaves in the answer what the proxy can read. A version
// that is not known is answered as a server does that does not know it: in version 0.
func (c *conn) versions(r *request) error {
	latest := c.h.messages.latest[keyVersions]
	if r.version < 0 || r.version > latest {
		body := binary.BigEndian.AppendUint16(nil, errVersion)
		body = binary.BigEndian.AppendUint32(body, 1)
		for _, v := range []int16{keyVersions, 0, latest} {
			body = binary.BigEndian.AppendUint16(body, uint16(v))
		}
		return c.answers.push(waiting{correlation: r.correlation, local: frame(r.correlation, false, body)})
	}
	r.bodyAt = len(r.frame)
	return c.forward(r, []byte{}, func(answer []byte) ([]byte, error) { return c.h.messages.known(r.version, answer) })
}

// known leaves in an ApiVersions answer the keys and versions that the proxy knows.
func (m *messages) known(version int16, answer []byte) ([]byte, error) {
	if len(answer) < 2 {
		return nil, errShort
	}
	if binary.BigEndian.Uint16(answer) != 0 {
		return answer, nil // an error, which can be in version 0
	}
	w := walker{body: answer, at: 2, flexible: version >= firstTagged}
	n, null, err := w.count()
	if err != nil || null {
		return nil, errors.New("it has no list of keys")
	}
	var entries []byte
	count := 0
	for ; n > 0; n-- {
		entry, err := w.take(6)
		if err != nil {
			return nil, err
		}
		at := w.at
		if w.flexible {
			if err := w.tags(); err != nil {
				return nil, err
			}
		}
		key, first, last := int16(binary.BigEndian.Uint16(entry)), int16(binary.BigEndian.Uint16(entry[2:])), int16(binary.BigEndian.Uint16(entry[4:]))
		// SaslHandshake keeps its version 0, which conn.request refuses: librdkafka before 2.1
		// takes a server without it for one without SASL, and then uses version 1.
		latest, ok := m.latest[key]
		if last = min(last, latest); !ok || first > last {
			continue
		}
		count++
		for _, v := range []int16{key, first, last} {
			entries = binary.BigEndian.AppendUint16(entries, uint16(v))
		}
		entries = append(entries, answer[at:w.at]...)
	}
	out := append(make([]byte, 0, len(answer)), answer[:2]...)
	out = appendCount(out, count, w.flexible)
	return append(append(out, entries...), answer[w.at:]...), nil
}

// headerOf is the header of a request of the proxy's own, in a version with tags.
func headerOf(r *request, client string) []byte {
	out := binary.BigEndian.AppendUint16(nil, uint16(r.key))
	out = binary.BigEndian.AppendUint16(out, uint16(r.version))
	out = binary.BigEndian.AppendUint32(out, uint32(r.correlation))
	out = binary.BigEndian.AppendUint16(out, uint16(len(client)))
	return append(append(out, client...), 0)
}

// sessionAnswer tells a client that its Fetch session is not there.
func sessionAnswer() kmsg.Response {
	r := kmsg.NewPtrFetchResponse()
	r.ErrorCode = errSessionUnknown
	return r
}
