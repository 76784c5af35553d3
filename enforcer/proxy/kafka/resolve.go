package kafka

import (
	"encoding/binary"
	"io"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxNames is how many ids a connection remembers.
const maxNames = 10_000

// idVersion is the version of the proxy's own Metadata requests: the first that asks by id.
const idVersion = 12

// resolve gives topics with an id their names. It asks the server for those that are new; the
// ids that the server does not know either are returned.
func (c *conn) resolve(r *request, m *message) (unknown map[[16]byte]bool, err error) {
	var missing [][16]byte
	seen := map[[16]byte]bool{}
	c.eachID(m, func(t *topic) {
		if c.names[t.id] == "" && !seen[t.id] {
			seen[t.id] = true
			missing = append(missing, t.id)
		}
	})
	if len(missing) > 0 {
		if unknown, err = c.ask(r, missing); err != nil {
			return nil, err
		}
	}
	c.eachID(m, func(t *topic) { t.name = c.names[t.id] })
	return unknown, nil
}

func (c *conn) eachID(m *message, do func(*topic)) {
	for i := range m.lists {
		for j := range m.lists[i].topics {
			if t := &m.lists[i].topics[j]; t.name == "" && t.id != [16]byte{} {
				do(t)
			}
		}
	}
}

// ask has the server name ids, in the client's name and on its connection.
func (c *conn) ask(r *request, ids [][16]byte) (unknown map[[16]byte]bool, err error) {
	if len(c.names)+len(ids) > maxNames {
		clear(c.names)
	}
	q := kmsg.NewPtrMetadataRequest()
	q.SetVersion(idVersion)
	for _, id := range ids {
		t := kmsg.NewMetadataRequestTopic()
		t.TopicID = id
		q.Topics = append(q.Topics, t)
	}
	c.asked--
	own := make(chan []byte, 1)
	// The header is the request's own, with the client's ID, but for key, version and number.
	question := &request{key: keyMetadata, version: idVersion, correlation: c.asked}
	question.frame = headerOf(question, r.client)
	question.bodyAt = len(question.frame)
	if err := c.send(question, q.AppendTo(nil), waiting{correlation: c.asked, own: own}, true); err != nil {
		return nil, err
	}
	var answer []byte
	select {
	case answer = <-own:
	case <-c.answers.ended:
		return nil, io.ErrUnexpectedEOF
	}
	x := c.h.messages.exchanges[keyMetadata]
	header, m, err := c.open(question, x, answer)
	if err != nil {
		return nil, &refusal{reason: "the server's answer cannot be read", event: r.event()}
	}
	unknown = map[[16]byte]bool{}
	for _, id := range ids {
		unknown[id] = true
	}
	for _, t := range m.lists[0].topics {
		if !unknown[t.id] {
			continue
		}
		if t.name != "" {
			c.names[t.id] = t.name
		}
		// The answer's error stands in front of the name: without one, or with another
		// error than that there is no such topic, the id is not known to be unknown.
		if at := header + t.at; t.name != "" || binary.BigEndian.Uint16(answer[at:]) != errUnknownID {
			delete(unknown, t.id)
		}
	}
	return unknown, nil
}
