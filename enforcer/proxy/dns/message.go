package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	headerSize = 12
	// minSize and maxSize are what a client takes over UDP: without EDNS, and at most.
	minSize = 512
	maxSize = 65535
)

// question is a client's message with its one question.
type question struct {
	id     uint16
	name   string // with its trailing dot, as asked
	typ    dnsmessage.Type
	class  dnsmessage.Class
	opcode dnsmessage.OpCode
	// end is where the question ends in the message.
	end int
	// edns says that the message has an OPT record, and size what the client takes over UDP.
	edns bool
	size int
}

// errRefused is for messages that can be read, and are no question that a resolver answers:
// updates, zone transfers, notifications.
var errRefused = errors.New("no plain question")

// readQuestion reads a client's message. With errRefused, the question can be answered.
func readQuestion(b []byte) (question, error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return question{}, fmt.Errorf("read header: %w", err)
	}
	if h.Response {
		return question{}, errors.New("an answer, and no question")
	}
	if n := binary.BigEndian.Uint16(b[4:]); n != 1 {
		return question{}, fmt.Errorf("%d questions in one message", n)
	}
	asked, err := p.Question()
	if err != nil {
		return question{}, fmt.Errorf("read question: %w", err)
	}
	q := question{id: h.ID, name: asked.Name.String(), typ: asked.Type, class: asked.Class, opcode: h.OpCode, end: questionEnd(b), size: minSize}
	if q.end == 0 {
		return question{}, errors.New("read question: it has no end")
	}
	if err := errors.Join(p.SkipAllQuestions(), p.SkipAllAnswers(), p.SkipAllAuthorities()); err != nil {
		return question{}, fmt.Errorf("read records: %w", err)
	}
	for {
		r, err := p.AdditionalHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err == nil && r.Type == dnsmessage.TypeOPT {
			q.edns, q.size = true, max(minSize, int(r.Class))
		}
		if err == nil {
			err = p.SkipAdditional()
		}
		if err != nil {
			return question{}, fmt.Errorf("read additional records: %w", err)
		}
	}
	records := binary.BigEndian.Uint32(b[6:]) // answers and authorities
	if h.OpCode != 0 || records != 0 || q.typ == dnsmessage.TypeAXFR || q.typ == typeIXFR {
		return q, errRefused
	}
	return q, nil
}

const typeIXFR dnsmessage.Type = 251

// questionEnd is where the first question ends; 0 if it does not.
func questionEnd(b []byte) int {
	for i := headerSize; i < len(b); {
		switch n := int(b[i]); {
		case n == 0:
			return within(b, i+5)
		case n >= 0xc0:
			return within(b, i+6)
		case n > 63:
			return 0
		default:
			i += n + 1
		}
	}
	return 0
}

func within(b []byte, end int) int {
	if end > len(b) {
		return 0
	}
	return end
}

// answerOf returns an answer without records to the message that q was read from.
func answerOf(b []byte, q question, code dnsmessage.RCode) []byte {
	out := make([]byte, headerSize, q.end+11)
	copy(out, b[:2])
	out[2] = 0x80 | b[2]&0x79 // an answer, of the same kind, recursion as desired
	out[3] = 0x80 | byte(code)
	out[5] = 1
	out = append(out, b[headerSize:q.end]...)
	if q.edns {
		// The root's name, the type, the size that is taken here, and no options.
		out = append(out, 0, 0, byte(dnsmessage.TypeOPT), 0x04, 0xd0, 0, 0, 0, 0, 0, 0)
		out[11] = 1
	}
	return out
}

// isAnswer says whether b answers q: with its id, and its question as it was asked, however
// its letters are written. Servers that cannot read a question leave it out.
func isAnswer(b []byte, q question) bool {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || !h.Response || h.ID != q.id || h.OpCode != q.opcode {
		return false
	}
	asked, err := p.Question()
	if errors.Is(err, dnsmessage.ErrSectionDone) {
		return h.RCode != dnsmessage.RCodeSuccess && binary.BigEndian.Uint32(b[6:]) == 0
	}
	if err != nil || asked.Type != q.typ || asked.Class != q.class || !strings.EqualFold(asked.Name.String(), q.name) {
		return false
	}
	_, err = p.Question()
	return errors.Is(err, dnsmessage.ErrSectionDone)
}
