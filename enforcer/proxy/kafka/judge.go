package kafka

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/septum-dev/septum/policy"
)

// maxEvents is how many topics of one request are reported one by one.
const maxEvents = 100

// judge sends on what is allowed of a request and answers the rest.
func (c *conn) judge(r *request, x exchange, m *message) error {
	if r.key == keyFetch && m.session != 0 && m.epochAt != 0 && int32(binary.BigEndian.Uint32(r.body()[m.epochAt:])) > 0 {
		// A session that the client had before the proxy was there: it asks again, in full.
		return c.answer(r, bodyOf(sessionAnswer(), r.version))
	}
	unknown, err := c.resolve(r, m)
	if err != nil {
		return err
	}
	denied := make([][]wrong, len(m.lists))
	some, count := false, 0
	events := 0
	for i, l := range m.lists {
		for _, t := range l.topics {
			d, code := c.decideTopic(r, t, unknown)
			if events++; events <= maxEvents {
				event := r.event()
				event.Topic = cut(t.name)
				if d.Verdict == policy.Denied {
					event.Error = code
				}
				c.report(d, event)
			}
			if d.Verdict == policy.Denied {
				denied[i] = append(denied[i], wrong{topic: t, code: code})
				count++
				continue
			}
			some = true
		}
	}
	whole := m.topics == 0
	if whole {
		d := c.decide(r, "")
		if d.Verdict == policy.Denied {
			return c.denyWhole(r, d)
		}
		c.report(d, r.event())
	}
	if count == 0 {
		return c.allowed(r, x, m)
	}
	if x.response == nil || !some && r.key != keyMetadata {
		return c.deniedWhole(r, x, m, denied)
	}
	return c.partly(r, x, m, denied)
}

func (r *request) body() []byte { return r.frame[r.bodyAt:] }

// decideTopic judges one topic. An id that the server does not know either is answered as the
// server would, for the client then asks for the topic's new one.
func (c *conn) decideTopic(r *request, t topic, unknown map[[16]byte]bool) (policy.Decision, int16) {
	if t.name == "" {
		if unknown[t.id] {
			return policy.Decision{Verdict: policy.Denied, Reason: "the server knows no topic of this id"}, errUnknownID
		}
		return policy.Decision{Verdict: policy.Denied, Reason: "the topic's name is not known"}, errTopicDenied
	}
	return c.decide(r, t.name), errTopicDenied
}

// allowed sends a request on of which everything is allowed. An answer about all topics is filtered.
func (c *conn) allowed(r *request, x exchange, m *message) error {
	if r.key == keyProduce && m.acks == 0 {
		return c.send(r, nil, waiting{}, false)
	}
	c.endSession(r, m)
	filter := r.key == keyMetadata && r.version == 0 && m.topics == 0
	for _, l := range m.lists {
		filter = filter || l.null && (r.key == keyMetadata || r.key == keyOffsets)
	}
	if !filter {
		return c.forward(r, nil, nil)
	}
	return c.forward(r, nil, c.filtered(r, x, func(t topic) bool { return c.mayKnow(r, t.name) }))
}

// mayKnow judges a topic that the server names unasked. In Audit mode nothing is hidden.
func (c *conn) mayKnow(r *request, name string) bool {
	return name != "" && c.decide(r, name).Verdict != policy.Denied
}

// endSession makes each Fetch one of its own.
func (c *conn) endSession(r *request, m *message) {
	if r.key == keyFetch && m.epochAt != 0 {
		body := r.body()
		binary.BigEndian.PutUint32(body[m.sessionAt:], 0)
		binary.BigEndian.PutUint32(body[m.epochAt:], 0xffffffff)
	}
}

// deniedWhole answers a request of which nothing goes on.
func (c *conn) deniedWhole(r *request, x exchange, m *message, denied [][]wrong) error {
	if r.key == keyProduce && m.acks == 0 {
		return nil // the client expects no answer
	}
	var groups []string
	for i, l := range m.lists {
		groups = append(groups, l.group)
		if x.response != nil {
			continue
		}
		// Of a whole that is not done, what is allowed is not attempted.
		denied[i] = denied[i][:0:0]
		for _, t := range l.topics {
			code := int16(errTopicDenied)
			if c.decide(r, t.name).Verdict != policy.Denied {
				code = errNotAttempted
			}
			denied[i] = append(denied[i], wrong{topic: t, code: code})
		}
	}
	return c.answer(r, bodyOf(c.h.messages.answerFor(r.key, r.version, denied, groups), r.version))
}

// partly sends on what is allowed, and puts the rest into the server's answer.
func (c *conn) partly(r *request, x exchange, m *message, denied [][]wrong) error {
	flexible := c.tagged(r)
	isDenied := func(i, j int) bool {
		at := m.lists[i].topics[j].at
		return slices.ContainsFunc(denied[i], func(w wrong) bool { return w.at == at })
	}
	if slices.ContainsFunc(denied, func(l []wrong) bool { return len(l) > 16 }) {
		places := make([]map[int]bool, len(denied))
		for i, l := range denied {
			places[i] = map[int]bool{}
			for _, w := range l {
				places[i][w.at] = true
			}
		}
		isDenied = func(i, j int) bool { return places[i][m.lists[i].topics[j].at] }
	}
	c.endSession(r, m)
	body := edit(r.body(), m, flexible, func(i, j int) bool { return !isDenied(i, j) }, func(int) (int, []byte) { return 0, nil })
	if r.key == keyProduce && m.acks == 0 {
		return c.send(r, body, waiting{}, false)
	}
	var groups []string
	for _, l := range m.lists {
		groups = append(groups, l.group)
	}
	// The elements are cut out of an answer of which every topic is wrong.
	mine := bodyOf(c.h.messages.answerFor(r.key, r.version, denied, groups), r.version)
	refused, err := x.response.walk(r.version, mine)
	if err != nil {
		return err
	}
	// A Metadata request of version 0 without names is one for all topics.
	none := r.key == keyMetadata && r.version == 0 && !slices.ContainsFunc(m.lists[0].topics, func(t topic) bool {
		return !slices.ContainsFunc(denied[0], func(w wrong) bool { return w.at == t.at })
	})
	return c.forward(r, body, func(answer []byte) ([]byte, error) {
		header, got, err := c.open(r, x, answer)
		if err != nil {
			return nil, err
		}
		out := edit(answer[header:], got, flexible, func(int, int) bool { return !none }, func(i int) (int, []byte) {
			for _, l := range refused.lists {
				if l.group == got.lists[i].group {
					return len(l.topics), mine[l.first:l.end]
				}
			}
			return 0, nil
		})
		return append(slices.Clone(answer[:header]), out...), nil
	})
}

// open finds the topics of a server's answer, whose body begins behind its header's tags.
func (c *conn) open(r *request, x exchange, answer []byte) (header int, m *message, err error) {
	w := walker{body: answer}
	if c.tagged(r) {
		if err := w.tags(); err != nil {
			return 0, nil, err
		}
	}
	m, err = x.response.walk(r.version, answer[w.at:])
	if err == nil && len(m.lists) == 0 && r.key != keyOffsets {
		err = errors.New("it has no topics")
	}
	return w.at, m, err
}

// filtered leaves only some topics in a server's answer.
func (c *conn) filtered(r *request, x exchange, keep func(topic) bool) func([]byte) ([]byte, error) {
	flexible := c.tagged(r)
	return func(answer []byte) ([]byte, error) {
		header, got, err := c.open(r, x, answer)
		if err != nil {
			return nil, err
		}
		out := edit(answer[header:], got, flexible, func(i, j int) bool { return keep(got.lists[i].topics[j]) },
			func(int) (int, []byte) { return 0, nil })
		return append(slices.Clone(answer[:header]), out...), nil
	}
}
